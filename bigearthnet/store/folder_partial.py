"""A file of a folder that arrives from front to back, over several runs if need be."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shutil import rmtree

from bigearthnet.store.base import StoredFile
from bigearthnet.store.disk import sync, translate_os_errors
from bigearthnet.store.transfer import blocks


class FolderPartial:
    """The beginning of a file, at `part`, which `move` moves to its name; see `Partial` for the methods."""

    def __init__(self, part: Path, ahead: Path, size: int, move: Callable[[Path], StoredFile]) -> None:
        self.ahead = ahead
        self._part = part
        self._size = size
        self._move = move

    @property
    def position(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def held(self) -> Iterator[memoryview]:
        with translate_os_errors("read", self._part), self._part.open("rb") as file:
            yield from blocks(file)

    def append(self, blocks: Iterable[memoryview]) -> None:
        with translate_os_errors("write", self._part), self._part.open("ab") as file:
            file.writelines(blocks)

    def commit(self) -> StoredFile:
        if self.position != self._size:
            raise ValueError(f"{self._part} has {self.position} bytes of {self._size}")
        with translate_os_errors("write", self._part):
            self._part.touch()  # an empty file has not begun yet
            sync(self._part)
            rmtree(self.ahead, ignore_errors=True)
        return self._move(self._part)

    def discard(self) -> None:
        with translate_os_errors("remove", self._part):
            self._part.unlink(missing_ok=True)
            rmtree(self.ahead, ignore_errors=True)
