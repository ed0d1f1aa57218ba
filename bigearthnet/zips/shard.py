"""Shards: the zips of stored PNGs that a tile becomes, each written whole or not at all."""

import errno
import hashlib
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bigearthnet.errors import DestinationError, SpaceError
from bigearthnet.zips.format import central_entry, end_records, local_header

_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard.

    `size` is in bytes, `sha256` in hexadecimal; `body` are the bytes of the members with their local
    headers, so it is also the offset of the central directory.
    """

    path: Path
    size: int
    sha256: str
    members: int
    body: int


class HashedFile:
    """A file being written, whose size in bytes and SHA-256 are kept along the way.

    Args:
        path: the file, written over if it is there.
        place: where it will lie in the end, for messages.

    Raises:
        DestinationError: the file cannot be written (from every method).
        SpaceError: the disk is full (from every method).
    """

    def __init__(self, path: Path, place: Path) -> None:
        self.size = 0
        self._place = place
        self._digest = hashlib.sha256()
        try:
            self._file = path.open("wb", buffering=_BUFFER_BYTES)
        except OSError as error:
            raise unwritable(place, error) from error

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written until now, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append the bytes of `data`."""
        try:
            self._file.write(data)
        except OSError as error:
            self.abandon()  # no later write may look as if this one had not failed
            raise unwritable(self._place, error) from error
        self._digest.update(data)
        self.size += memoryview(data).nbytes

    def finish(self) -> None:
        """Bring everything to the disk and close the file."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise unwritable(self._place, error) from error

    def abandon(self) -> None:
        """Close the file if it is open; what is not on the disk yet may be lost."""
        with suppress(OSError):  # a full disk once more, for bytes that nobody wants
            self._file.close()


class ShardWriter:
    """Writes a zip of stored members; the same members give the same bytes, anywhere and at any time.

    A context manager, for one shard. The zip is written beside `path` and moved there at the end of the
    block; after an exception, nothing of it is left and what lay at `path` is untouched. Only one
    writer may be at work on a path at a time.

    Raises:
        DestinationError: the folder cannot be written.
        SpaceError: the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # A fixed name: what a killed process left is written over by the next try.
        self._staged = path.with_name(f".{path.name}.part")
        self._file: HashedFile | None = None
        self._central = bytearray()
        self._members = 0
        self._last = b""
        self._summary: Shard | None = None

    def __enter__(self) -> Self:
        if self._file or self._members or self._summary:
            raise ValueError(f"expected a new ShardWriter for {self._path}, found one already used")
        self._file = HashedFile(self._staged, self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._opened(), None
        try:
            if kind is None:
                self._finish(file)
        finally:
            file.abandon()
            self._staged.unlink(missing_ok=True)

    def add(self, name: str, data: bytes | memoryview) -> int:
        """Append a member.

        Args:
            name: its name, ASCII, greater than the one before.
            data: its bytes; a memoryview must be C-contiguous.

        Returns:
            The CRC-32 of `data`.

        Raises:
            ValueError: the name is not ASCII or not in ascending order, the member has 4 GiB or more,
                or the block of the context manager is not entered, or is over.
            DestinationError: the shard cannot be written.
            SpaceError: the disk is full.
        """
        file = self._opened()
        raw, view = name.encode(), memoryview(data)
        crc32 = zlib.crc32(view)
        header = local_header(raw, view.nbytes, crc32)
        if raw <= self._last:
            raise ValueError(
                f"expected members of {self._path} in ascending order, each name once, "
                f"found {raw!r} after {self._last!r}"
            )
        self._central += central_entry(raw, view.nbytes, crc32, file.size)
        file.write(header)
        file.write(view)
        self._members += 1
        self._last = raw
        return crc32

    @property
    def summary(self) -> Shard:
        """The finished shard.

        Raises:
            ValueError: the block of the context manager is not over, or ended with an exception.
        """
        if self._summary is None:
            raise ValueError(f"expected {self._path} to be finished before its summary is asked for")
        return self._summary

    def _opened(self) -> HashedFile:
        if self._file is None:
            raise ValueError(f"expected to write {self._path} inside the with block of its ShardWriter")
        return self._file

    def _finish(self, file: HashedFile) -> None:
        body = file.size
        file.write(self._central)
        file.write(end_records(self._members, len(self._central), body))
        file.finish()
        try:
            self._staged.replace(self._path)
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._summary = Shard(self._path, file.size, file.sha256, self._members, body)


def unwritable(path: Path, error: OSError) -> DestinationError | SpaceError:
    """Say in the project's words that `path` could not be written, and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpaceError(
            f"expected room for {path}, found the disk or the quota full ({error.strerror}); "
            "free some space and run again: finished files are kept"
        )
    return DestinationError(
        f"expected to be able to write {path}, found: {error.strerror}; "
        "check the folder, its owner and its permissions"
    )
