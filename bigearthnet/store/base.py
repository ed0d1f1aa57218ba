"""The interface of all stores."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bigearthnet.store.reader import ResumingReader


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a store, as it was when it was looked up."""

    name: str  # below the store, with `/`
    size: int
    etag: str  # differs for every version of the file


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes `start` to `stop` (exclusive) of a stored file."""

    file: StoredFile
    start: int
    stop: int


Piece = Range | Path
"""Part of a file to be joined: bytes of a stored file, or a whole local file."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A joined file that is complete in the store, but not visible yet."""

    size: int
    commit: Callable[[], StoredFile]
    """Makes the file visible under its name, in place of any earlier one.

    Raises ChecksumError if the store holds other bytes than it was given; the file is removed.
    """


class Partial(Protocol):
    """A file that arrives from front to back, over several runs if need be.

    What was appended and not committed is kept for the next `resume`.
    """

    @property
    def position(self) -> int:
        """Bytes that are there."""

    @property
    def ahead(self) -> Path | None:
        """Folder for bytes that arrive before their turn, kept for the next `resume`; None without one."""

    def held(self) -> Iterator[memoryview] | None:
        """Yield the bytes that are there, in blocks; None where the store cannot read them back."""

    def append(self, blocks: Iterable[memoryview]) -> None:
        """Append bytes as they come."""

    def commit(self) -> StoredFile:
        """Make the file visible under its name; all its bytes must have been written."""

    def discard(self) -> None:
        """Remove what is there, so that the next bytes are the first ones."""


class Lock(Protocol):
    """A store that is locked by this run."""

    def check(self) -> None:
        """Raise BusyError if another run has taken the lock over."""


class Store(Protocol):
    """A folder, or a prefix in a bucket, that holds named files.

    Every method can raise StoreError when it is refused, SpaceError when the disk is full, and TransferError
    when a server does not answer.

    What writes or removes does so only in a store that is ours: one with the marker `.bigearthnet`, which
    the first of these calls puts into an empty place. It raises StoreError where there are other files.
    Names may not be empty, absolute, hold `..`, or be those that a store uses for itself (`.lock`,
    `.bigearthnet`, `.trial`, below `.staging/` and `.resume/`).
    """

    @property
    def url(self) -> str:
        """A path, or `s3://bucket/prefix`."""

    @property
    def folder(self) -> Path | None:
        """The folder on this machine; None for a bucket."""

    def head(self, name: str) -> StoredFile | None:
        """Look a file up."""

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """Yield the files whose names begin with `prefix`, in ascending order, without the store's own."""

    def digest(self, file: StoredFile) -> str | None:
        """SHA-256 (hex) of a file.

        A folder reads the file if it changed since its digest was noted. A bucket goes by the object's
        metadata, and returns None if it has none.
        """

    def open(self, file: StoredFile, start: int = 0, stop: int | None = None) -> ResumingReader:
        """Open bytes `start` to `stop` of a file, at the first read.

        Reading raises ChangedError when the file is not the one that was looked up.
        """

    def read(self, name: str) -> bytes | None:
        """Read a small file, of at most 64 MiB; None if it is not there."""

    def write(self, name: str, data: bytes, *, create: bool = False) -> StoredFile:
        """Write a small file, in place of any earlier one, and bring it to the disk.

        With `create`, raise ChangedError if there is one.
        """

    def upload(self, path: Path, name: str) -> StoredFile:
        """Store a local file, in place of any earlier one.

        A folder on the same disk links it: it must not be changed afterwards.
        """

    def stage(self, name: str, pieces: Sequence[Piece], sha256: str) -> AbstractContextManager[Staged]:
        """Join pieces to a file that becomes visible when it is committed; else it is removed with the block.

        A bucket copies ranges of at least 5 MiB on the server. The SHA-256 (hex) is noted for `digest`.
        """

    def resume(self, name: str, size: int, version: str) -> Partial:
        """Go on with a file that an earlier run began to write, or begin it.

        An earlier beginning of another size or version, such as an md5, is dropped.
        """

    def delete(self, names: Iterable[str]) -> None:
        """Remove files; those that are not there are skipped."""

    def try_out(self, *, joins: bool) -> None:
        """Try what a run will need, with a small file that is removed again.

        With `joins` also what `stage` needs of a server; a bucket is sent 5 MiB for it.

        Raises:
            StoreError: something does not work; the message names it.
        """

    def lock(self, run: str) -> AbstractContextManager[Lock]:
        """Lock the store until the block ends.

        Raises:
            BusyError: another run has it; the message names that run.
            StoreError: the store holds files and is not marked as ours.
        """
