"""A reader that goes on after a broken connection, over any function that opens a file at a byte."""

import io
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bigearthnet.errors import StoreError, TransferError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TRIES: Final = 10
"""Tries in a row without progress before a transfer fails."""
PROGRESS_BYTES: Final = 64 << 10
"""Fewer new bytes, between two failures or in `SLOW_SECONDS` of waiting, do not count as progress."""
SLOW_SECONDS: Final = 60.0
BACKOFF_LIMIT_SECONDS: Final = 120.0
SMALL_BYTES: Final = 64 << 20
"""Size of the largest file that is read into memory."""

logger = logging.getLogger(__name__)


class Body(Protocol):
    """An open response or file."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what has arrived; 0 at the end. Raises TransferError if the connection broke."""

    def interrupt(self) -> None:
        """Let a read that waits in another thread end soon."""

    def close(self) -> None:
        """Close it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file opened at a byte."""

    body: Body
    start: int  # the byte that it begins with: as asked for, or 0 where the server sends the whole file


OpenAt = Callable[[int], Opened]
"""Opens a file at a byte.

The opener retries its requests itself (by urllib3 or botocore), never the reader. Raises TransferError when
they fail, ChangedError when the file is another one now, SourceError or StoreError when they are refused.
"""


class LimitedError(TransferError):
    """A server that is read over several connections wants fewer; just one, if it `sends_whole_files`."""

    def __init__(self, answer: str, *, sends_whole_files: bool) -> None:
        super().__init__(answer)
        self.sends_whole_files = sends_whole_files


def backoff_seconds(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0, 2, 4, 8 ... up to 120."""
    return 0.0 if failures <= 1 else min(2.0 ** (failures - 1), BACKOFF_LIMIT_SECONDS)


class ResumingReader(io.RawIOBase):
    """Reads bytes `start` to `stop` of a file; opens it again where a connection broke."""

    def __init__(
        self,
        open_at: OpenAt,
        name: str,
        start: int,
        stop: int,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self.position = start  # of the next byte
        self.name = name  # for messages
        self._open_at = open_at
        self.stop = stop
        self._sleep = sleep
        self._body: Body | None = None
        self._interrupted = False
        self._skip = 0  # bytes of the body that lie before `position`
        self._failures = 0
        self._failed_at = start
        self._waited, self._arrived = 0.0, 0  # seconds and bytes since 64 KiB were complete

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read what has arrived into the buffer; 0 only at `stop`.

        Raises what the opener does; TransferError if fewer than 64 KiB arrived in each of 10 tries in a row.
        """
        if self.closed:
            raise ValueError("read of a closed file")
        view = memoryview(buffer).cast("B")[: max(self.stop - self.position, 0)]
        while len(view):
            try:
                if self._body is None:
                    opened = self._open_at(self.position)
                    self._body, self._skip = opened.body, self.position - opened.start
                if self._interrupted:
                    raise TransferError("the transfer was ended")
                count = self._receive(view)
            except TransferError as error:
                if self._body is None:  # the request itself failed, and its own retries are spent
                    raise
                self._fail(error)
                continue
            self.position += count
            return count
        self._drop()
        return 0

    def interrupt(self) -> None:
        """Let a read in another thread fail soon with TransferError; it is not tried again."""
        self._interrupted = True
        if (body := self._body) is not None:
            body.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        super().close()

    def _receive(self, view: memoryview) -> int:
        while self._skip:
            self._skip -= self._measured(memoryview(bytearray(min(self._skip, PROGRESS_BYTES))))
        return self._measured(view)

    def _measured(self, buffer: memoryview) -> int:
        """Read into the buffer; only the time spent waiting for bytes counts."""
        assert self._body is not None  # noqa: S101
        began = time.monotonic()
        count = self._body.readinto(buffer)
        if not count:
            raise TransferError(f"the response ended at byte {self.position:,} of {self.stop:,}")
        self._waited += time.monotonic() - began
        self._arrived += count
        if self._arrived >= PROGRESS_BYTES:
            self._waited, self._arrived = 0.0, 0
        elif self._waited >= SLOW_SECONDS:
            raise TransferError(f"only {self._arrived:,} bytes arrived in {self._waited:.0f} s")
        return count

    def _fail(self, error: TransferError) -> None:
        self._drop()
        if self._interrupted:
            raise error
        if self.position - self._failed_at >= PROGRESS_BYTES:
            self._failures = 0
        self._failed_at = self.position
        self._failures += 1
        if self._failures >= TRIES:
            raise TransferError(
                f"cannot read {self.name}: {TRIES} tries in a row brought next to nothing, "
                f"at last: {error}. Try again later."
            ) from error
        seconds = backoff_seconds(self._failures)
        logger.warning("%s: %s; trying again in %.0f s", self.name, error, seconds)
        self._sleep(seconds)

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
        self._waited, self._arrived = 0.0, 0


def read_small(reader: ResumingReader, size: int) -> bytes:
    """Read all `size` bytes of a reader and close it; raises StoreError if they are more than 64 MiB."""
    with reader:
        if size > SMALL_BYTES:
            raise StoreError(
                f"cannot read {reader.name}: it has {size:,} bytes, and at most {SMALL_BYTES:,} are read."
            )
        return reader.readall()
