"""The work folder: its layout."""

import re
from dataclasses import dataclass
from pathlib import Path

from bigearthnet.errors import DestinationError, SourceError


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths in the work folder. Everything in it can be made again."""

    root: Path

    @property
    def md5s(self) -> Path:
        """Notes of the md5s of archives, so that an unchanged archive is read once."""
        return self.root / "md5s"

    @property
    def archives(self) -> Path:
        """Files of records, by their md5."""
        return self.root / "archives"

    @property
    def results(self) -> Path:
        """Results of Prefect's tasks."""
        return self.root / "results"

    @property
    def bundles(self) -> Path:
        """Tile bundles that wait to be converted; of use to one run."""
        return self.root / "bundles"

    @property
    def tiles(self) -> Path:
        """Shards and rows that were just converted; of use to one run."""
        return self.root / "tiles"

    @property
    def staging(self) -> Path:
        """Manifest, preview and central directories before they are published; of use to one run."""
        return self.root / "staging"

    @property
    def sample(self) -> Path:
        """Archives of the embedded sample."""
        return self.root / "sample"


def folder(text: str, refusal: type[DestinationError] | type[SourceError] = DestinationError) -> Path:
    """Return the absolute path, without links, of a folder that a person names; it need not exist.

    Raises:
        DestinationError, SourceError: (whichever `refusal` is) it is empty, a URL, or cannot be looked up.
    """
    advice = "Write the whole path, such as /data/bigearthnet."
    if not text.strip() or "\0" in text:
        raise refusal(f"{text!r} is not a folder. {advice}")
    if re.match(r"[a-z][a-z0-9+.-]*:/", text, re.IGNORECASE):
        raise refusal(f"{text!r} is not a folder. {advice} A bucket is written s3://bucket/prefix.")
    if re.search(r"(^|/)\$", text):
        raise refusal(f"cannot use {text!r}: variables are not replaced. {advice}")
    try:
        path = Path(text).expanduser().resolve()
        path.stat()
    except FileNotFoundError:
        return path
    except RuntimeError as error:  # no such user, or (before Python 3.13) links in a circle
        raise refusal(f"cannot use {text!r}: {error}. {advice}") from error
    except OSError as error:
        raise refusal(f"cannot use {text!r}: {error.strerror}. {advice}") from error
    return path
