"""The work folder: what lies where, by content and not by time."""

from dataclasses import dataclass
from pathlib import Path

from bigearthnet.errors import DestinationError


@dataclass(frozen=True, slots=True)
class Workspace:
    """Places in the work folder. Everything in it can be made again; nothing in it is published."""

    root: Path

    @property
    def digests(self) -> Path:
        """Memos of digests that were computed, so that an unchanged file is not read again."""
        return self.root / "digests"

    @property
    def results(self) -> Path:
        """Prefect's results: the lists of what was made."""
        return self.root / "results"

    @property
    def bundles(self) -> Path:
        """Tile bundles that wait to be converted; of use to one run only."""
        return self.root / "bundles"

    @property
    def staging(self) -> Path:
        """Manifest and preview on their way to a bucket; of use to one run only."""
        return self.root / "staging"

    @property
    def sample(self) -> Path:
        """The embedded sample's archives."""
        return self.root / "sample"

    def archive(self, name: str, md5: str) -> Path:
        """A file of the record."""
        return self.root / "archives" / md5 / name

    def tile(self, key: str) -> Path:
        """Shards and rows of a tile."""
        return self.root / "tiles" / key


def folder(text: str) -> Path:
    """The folder that a person means, whole and without links.

    Raises:
        DestinationError: it is a URL, or nothing.
    """
    if not text.strip() or "://" in text:
        raise DestinationError(f"expected a folder, such as /data/bigearthnet, found {text!r}")
    return Path(text).expanduser().resolve()
