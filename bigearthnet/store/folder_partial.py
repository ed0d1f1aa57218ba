"""A file of a folder that arrives from front to back, over several runs if need be."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from bigearthnet.store.base import StoredFile
from bigearthnet.store.disk import replace_file, sync, translate_os_errors
from bigearthnet.store.resume import ResumeNote, read_note

_BLOCK_BYTES: Final = 256 << 10


class FolderPartial:
    """The beginning of a file, in `<part>`, with a note in `<part>.json`; see `Partial` for the methods.

    `move` moves the complete file to its name.
    """

    def __init__(self, part: Path, size: int, md5: str | None, move: Callable[[Path], StoredFile]) -> None:
        self._part = part
        self._note_path = part.with_name(f"{part.name}.json")
        self._size = size
        self._md5 = md5
        self._move = move
        self.validator: str | None = None
        self._load()

    @property
    def position(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def held(self) -> Iterator[memoryview]:
        with translate_os_errors("read", self._part), self._part.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield memoryview(block)

    def restart(self, validator: str | None) -> None:
        self.discard()
        note = ResumeNote(size=self._size, md5=self._md5, validator=validator)
        with translate_os_errors("write", self._part):
            replace_file(self._note_path, note.dump())
            self._part.touch()
        self.validator = validator

    def append(self, blocks: Iterable[memoryview]) -> None:
        with translate_os_errors("write", self._part), self._part.open("ab") as file:
            file.writelines(blocks)

    def commit(self) -> StoredFile:
        if self.position != self._size:
            raise ValueError(f"{self._part} has {self.position} bytes of {self._size}")
        with translate_os_errors("write", self._part):
            sync(self._part)
        stored = self._move(self._part)
        with translate_os_errors("remove", self._note_path):
            self._note_path.unlink(missing_ok=True)
        return stored

    def discard(self) -> None:
        with translate_os_errors("remove", self._part):
            self._part.unlink(missing_ok=True)
            self._note_path.unlink(missing_ok=True)
        self.validator = None

    def _load(self) -> None:
        """Go on with the earlier beginning if it is of the same file, else remove it."""
        with translate_os_errors("read", self._part):
            note = read_note(self._note_path.read_bytes()) if self._note_path.exists() else None
            held = self.position
        if note and (note.size, note.md5) == (self._size, self._md5) and 0 < held <= self._size:
            self.validator = note.validator
        else:
            self.discard()
