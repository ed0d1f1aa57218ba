"""A record's file opened where it lies: behind a URL, in a bucket, or in a folder."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from bigearthnet.errors import ChecksumError
from bigearthnet.source.old.http import Http
from bigearthnet.source.old.http_reader import HttpReader
from bigearthnet.source.old.record import RecordFile
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.reader import BucketReader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Reading(Protocol):
    """A record's file that is being read; a context manager that lets go of it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    @property
    def validator(self) -> str | None:
        """What tells the edition that is read from others, as soon as it is known."""

    def begin(self) -> int:
        """Look at the file before reading, and take it from its beginning if it is another edition.

        Returns:
            Where reading will begin: where it was opened, or 0.
        """

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """Read into the buffer; 0 only at the end.

        Raises:
            TransferError: the rest did not come.
            SourceError: the file is not there, or may not be read.
            ChecksumError: it is another edition than that it was opened with, or of another size.
        """

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to `size` bytes, none at the end; raises what `readinto` does."""

    def close(self) -> None:
        """Let go of the file."""


class Remote:
    """Opens files by their locations, with the patience and the credentials of the run.

    Args:
        http: makes the requests for URLs.
        open_bucket: the bucket and prefix of an `s3://bucket/prefix`; not called before one is needed.
        sleep: waits that many seconds between tries to read an object.
    """

    def __init__(
        self,
        http: Http,
        open_bucket: Callable[[str], Bucket],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._open_bucket = open_bucket
        self._sleep = sleep

    def open(self, file: RecordFile, start: int = 0, validator: str | None = None) -> Reading:
        """Open a file; nothing is asked for before it is read, or `begin` is called.

        Args:
            file: what to read.
            start: first byte to read.
            validator: of the edition that the bytes before `start` are of.
        """
        if file.is_local:
            return _EditionReader(file, start, validator, lambda: _find_file(file))
        if file.is_object:
            return _EditionReader(file, start, validator, lambda: self._find_object(file))
        return HttpReader(self._http, file, start, validator=validator)

    def _find_object(self, file: RecordFile) -> "_Edition":
        folder, _, name = file.location.rpartition("/")
        bucket = self._open_bucket(folder)
        found = bucket.head(name)
        if found is None:
            raise bucket.refusal(
                f"expected {file.location}, found no such object; name a source that holds it"
            )
        return _Edition(
            found.etag, found.size, lambda start: BucketReader(bucket, found, start, sleep=self._sleep)
        )


@dataclass(frozen=True, slots=True)
class _Edition:
    """A file as it is now: what tells it from other editions, its size, and what opens it at a byte."""

    etag: str
    size: int
    open: Callable[[int], io.RawIOBase]


def _find_file(file: RecordFile) -> _Edition:
    path = Path(file.location)
    status = path.stat()

    def opened(start: int) -> io.RawIOBase:
        reader = path.open("rb", buffering=0)
        reader.seek(start)
        return reader

    return _Edition(f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}", status.st_size, opened)


class _EditionReader(io.RawIOBase):
    """A file that can be looked at before it is opened, and is opened as late as that."""

    def __init__(
        self, file: RecordFile, start: int, validator: str | None, find: Callable[[], _Edition]
    ) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._find = find
        self._reader: io.RawIOBase | None = None
        self.validator = validator

    def readable(self) -> bool:
        """Always."""
        return True

    def begin(self) -> int:
        """As `Reading.begin`."""
        if self._reader is None:
            self._reader = self._open(restart=True)
        return self._start

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """As `Reading.readinto`."""
        if self._reader is None:
            self._reader = self._open(restart=False)
        return self._reader.readinto(buffer)

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()
        super().close()

    def _open(self, *, restart: bool) -> io.RawIOBase:
        found = self._find()
        if found.size != self._file.size or self._file.etag not in (None, found.etag):
            raise ChecksumError(
                f"expected {self._file.location} of {self._file.size} bytes as it was listed, found another "
                f"edition, of {found.size} bytes; read the record again"
            )
        if self._start and self.validator != found.etag:
            if not restart:
                raise ChecksumError(
                    f"{self._file.location} changed while it was read: expected the edition "
                    f"{self.validator} that it began with, found {found.etag} at byte {self._start}; "
                    "read the record again and begin anew"
                )
            self._start = 0
        self.validator = found.etag
        return found.open(self._start)
