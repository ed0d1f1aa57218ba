"""A file of a folder that arrives from front to back, over several runs if need be."""

from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bigearthnet.store.base import Refusal, StoredFile
from bigearthnet.store.disk import replace_file, sync, translate_os_errors

_BLOCK_BYTES: Final = 256 << 10


class _Note(BaseModel):
    """The file that the bytes beside the note are of, and the version of its source."""

    model_config = ConfigDict(strict=True, extra="forbid")
    size: int
    md5: str | None
    validator: str | None = None


class FolderPartial:
    """The beginning of a file, in `<part>`, with a note in `<part>.json`; see `Partial` for the methods.

    `move` moves the complete file to its name.
    """

    def __init__(
        self, part: Path, size: int, md5: str | None, refusal: Refusal, move: Callable[[Path], StoredFile]
    ) -> None:
        self._part = part
        self._note_path = part.with_name(f"{part.name}.json")
        self._refusal = refusal
        self._move = move
        self._file: FileIO | None = None
        self._note = _Note(size=size, md5=md5)
        self.position = 0
        with translate_os_errors("read", part, refusal):
            self._load()

    @property
    def validator(self) -> str | None:
        return self._note.validator

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def held(self) -> Iterator[memoryview]:
        with translate_os_errors("read", self._part, self._refusal), self._part.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield memoryview(block)

    def restart(self, validator: str | None) -> None:
        self.discard()
        with translate_os_errors("write", self._part, self._refusal):
            self._note.validator = validator
            replace_file(self._note_path, self._note.model_dump_json().encode())
            self._file = FileIO(self._part, "xb")

    def write(self, data: memoryview) -> None:
        with translate_os_errors("write", self._part, self._refusal):
            if self._file is None:
                self._file = FileIO(self._part, "ab")
            while len(data):
                count = self._file.write(data)
                self.position += count
                data = data[count:]

    def commit(self) -> StoredFile:
        if self.position != self._note.size:
            raise ValueError(f"{self._part} has {self.position} bytes of {self._note.size}")
        self._close()
        with translate_os_errors("write", self._part, self._refusal):
            sync(self._part)
        stored = self._move(self._part)
        with translate_os_errors("remove", self._note_path, self._refusal):
            self._note_path.unlink(missing_ok=True)
        return stored

    def discard(self) -> None:
        self._close()
        with translate_os_errors("remove", self._part, self._refusal):
            self._part.unlink(missing_ok=True)
            self._note_path.unlink(missing_ok=True)
        self._note.validator, self.position = None, 0

    def _load(self) -> None:
        """Go on with the earlier beginning if it is of the same file."""
        try:
            note = _Note.model_validate_json(self._note_path.read_bytes())
            held = self._part.stat().st_size
        except (FileNotFoundError, ValidationError):
            return
        if (note.size, note.md5) == (self._note.size, self._note.md5) and held <= note.size:
            self._note, self.position = note, held

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
