"""Blocks of a file: each is written from front to back into a file of its own, and read meanwhile."""

import os
import tempfile
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from bigearthnet.store.disk import make_folder, translate_os_errors


class Block:
    """Bytes `start` to `stop` of a file, of which those before `end` are in `file`, at `path`."""

    def __init__(self, file: BinaryIO | FileIO, path: Path, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        self._file, self._path = file, path
        self.end = min(start + os.fstat(file.fileno()).st_size, stop)

    def append(self, data: memoryview) -> None:
        """Write the next bytes."""
        with translate_os_errors("write", self._path):
            while data:
                count = os.pwrite(self._file.fileno(), data, self.end - self.start)
                self.end += count
                data = data[count:]

    def read(self, position: int, buffer: memoryview) -> int:
        """Read bytes that are there, from a position in the whole file on."""
        with translate_os_errors("read", self._path):
            return os.preadv(self._file.fileno(), [buffer[: self.end - position]], position - self.start)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class BlockFiles(Protocol):
    """Makes the files of blocks."""

    def open(self, start: int, stop: int) -> Block:
        """Open a block, which may hold bytes of an earlier run."""

    def remove(self, block: Block) -> None:
        """Close and remove a block that was read."""


@dataclass(frozen=True, slots=True)
class UnnamedBlocks:
    """Files in `folder` that have no names, so that none is left when the process ends."""

    folder: Path

    def open(self, start: int, stop: int) -> Block:
        """Open an empty block."""
        with translate_os_errors("write", self.folder):
            make_folder(self.folder)
            file: BinaryIO = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115 - `close` does
        return Block(file, self.folder, start, stop)

    def remove(self, block: Block) -> None:
        """Close a block, which removes it."""
        block.close()


@dataclass(frozen=True, slots=True)
class KeptBlocks:
    """Files in `folder`, by their first bytes: a later run goes on with those that were not read.

    What a killed process wrote is there. After a power cut a file may have bytes that never got to the disk;
    as with all that an earlier run left, the md5 of the whole file finds it, and it is fetched again.
    """

    folder: Path

    @classmethod
    def go_on(cls, folder: Path, start: int) -> Self:
        """Remove the blocks of an earlier run that lie before `start`."""
        with translate_os_errors("remove blocks in", folder):
            for path in folder.glob("*"):
                if int(path.name) < start:
                    path.unlink()
        return cls(folder)

    def open(self, start: int, stop: int) -> Block:
        """Open a block."""
        path = self.folder / str(start)
        with translate_os_errors("write", path):
            make_folder(self.folder)
            return Block(FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+"), path, start, stop)

    def remove(self, block: Block) -> None:
        """Close and remove a block."""
        block.close()
        with translate_os_errors("remove", self.folder):
            (self.folder / str(block.start)).unlink()
