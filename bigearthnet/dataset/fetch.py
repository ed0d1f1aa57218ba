"""The folder that a published dataset is fetched to: what is there already, and how the rest takes its place.

The folder's `.fetch` holds what is on its way, and digests of what is there. It goes when all is there.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigearthnet.dataset.card import CARD, Card, PublishedFile, read_card
from bigearthnet.dataset.publish import is_intact, remove_stale_shards
from bigearthnet.work.digests import remember_digest
from bigearthnet.work.space import require_space


@dataclass(frozen=True, slots=True)
class Edition:
    """A published dataset, as it was when its card was read: the card, and the bytes it came in."""

    card: Card
    data: bytes

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file by its name, and last of the card."""
        return {file.name: file.size for file in self.card.files} | {CARD: len(self.data)}


class Landing:
    """The folder that an edition is fetched to.

    Args:
        folder: the folder; it exists.
        edition: what is fetched there.
    """

    def __init__(self, folder: Path, edition: Edition) -> None:
        self.folder = folder
        self._edition = edition
        self._own = folder / ".fetch"
        self._digests = self._own / "digests"

    def part(self, file: PublishedFile) -> Path:
        """What has arrived of a file. Its name is the digest of the whole, so it is never of another file."""
        return self._own / f"{file.sha256}.part"

    def begin(self) -> None:
        """Make ready; parts of files that this edition does not name are removed.

        Raises:
            SourceError: in the card's place is a file that is no card.
        """
        read_card(self.folder)
        self._own.mkdir(exist_ok=True)
        wanted = {self.part(file) for file in self._edition.card.files}
        for part in self._own.glob("*.part"):
            if part not in wanted:
                part.unlink()

    def missing(self, files: Sequence[PublishedFile]) -> tuple[PublishedFile, ...]:
        """Those that are not there, or not as they should be. Files of the right size are read once."""
        return tuple(file for file in files if not self._has(file))

    def left(self, files: Sequence[PublishedFile]) -> int:
        """Bytes of these files that have not arrived yet."""
        return sum(max(file.size - _size(self.part(file)), 0) for file in files)

    def require_room(self, missing: Sequence[PublishedFile]) -> None:
        """Make sure that the rest of these files fits on the disk.

        Raises:
            SpaceError: it does not.
        """
        remedy = "free some space, choose a folder on another disk, or fetch fewer files"
        require_space(self.folder, self.left(missing), "what is to be fetched", remedy)

    def place(self, file: PublishedFile) -> None:
        """Let a file that has arrived take its place; the card of another edition goes before."""
        self._retire_other_card()
        target = self.folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.part(file).replace(target)
        remember_digest(target, file.sha256, self._digests)

    def finish(self) -> bool:
        """Let the card take its place, if all that it names is there.

        Shards of another edition are removed then, and `.fetch` with them.

        Returns:
            Whether all is there, so that the folder now holds the dataset.
        """
        files = self._edition.card.files
        if any(_size(self.folder / file.name) != file.size for file in files) or self.missing(files):
            return False
        self._retire_other_card()
        remove_stale_shards(self._edition.card, self.folder)
        card = self._own / CARD
        with card.open("wb") as output:
            output.write(self._edition.data)
            output.flush()
            os.fsync(output.fileno())
        card.replace(self.folder / CARD)
        shutil.rmtree(self._own)
        return True

    def _has(self, file: PublishedFile) -> bool:
        return is_intact(self.folder / file.name, file.size, file.sha256, self._digests)

    def _retire_other_card(self) -> None:
        card = self.folder / CARD
        if card.exists() and card.read_bytes() != self._edition.data:
            card.unlink()


def _size(path: Path) -> int:
    """Of a file in bytes; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0
