"""An archive that is used while it is read, from the network or a folder, and still checked.

Its md5 is known only at its end. What is made of it before then is kept together with a mark: the position
in the stream, and the md5 of everything before it. A later run has to read the stream from its beginning in
any case; at each mark its own md5 must be the same. So the md5 at the end also vouches for what the earlier
run made.
"""

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial as bind
from typing import TYPE_CHECKING

from bigearthnet.errors import ChangedError, ChecksumError
from bigearthnet.source.opening import Source
from bigearthnet.source.parallel import ONE, Connections, open_file
from bigearthnet.source.record import RecordFile
from bigearthnet.store.base import Partial
from bigearthnet.store.transfer import BLOCK_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """The md5 (hex) of the first `position` bytes of a stream."""

    position: int
    md5: str


class Stream:
    """A streamed archive, whose md5 the record states; `marks` are of what earlier runs made of it.

    What arrives is stored in `partial`, if there is one, and read from there before more is asked for. It is
    removed where the stream is wrong.
    """

    def __init__(
        self,
        source: Source,
        file: RecordFile,
        marks: Iterable[Mark],
        on_bytes: Callable[[int], None],
        connections: Connections = ONE,
        partial: Partial | None = None,
    ) -> None:
        self._name = file.name
        self._advice = "Run again." if source.folder is None else "Replace it, or what states its md5."
        self.partial = partial
        if partial is None:
            self._reader: io.RawIOBase = open_file(source, file, 0, connections)
        else:
            opener = bind(open_file, source, file, connections=connections, kept=partial.ahead)
            self._reader = _StoringReader(partial, opener)
        self.marks = {mark for mark in (*marks, Mark(file.size, str(file.md5))) if mark.position > 0}
        """All that were given or made: at its end the stream vouches for them."""
        self._marks = deque(sorted(self.marks))
        self._on_bytes = on_bytes
        self._digest = hashlib.md5(usedforsecurity=False)
        self._position = 0

    def mark(self) -> Mark:
        """Return the mark of the current position."""
        mark = Mark(self._position, self._digest.hexdigest())
        self.marks.add(mark)
        return mark

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes of the compressed stream; none at its end.

        Raises:
            ChecksumError: it differs from what an earlier run read, or from the record.
            TransferError, ChangedError, SourceError: as `ResumingReader`.
        """
        if self._marks:
            size = min(size, self._marks[0].position - self._position)
        try:
            data = self._reader.read(size) or b""
        except ChangedError:
            self._discard()
            raise
        self._digest.update(data)
        self._position += len(data)
        self._on_bytes(len(data))
        while self._marks and (not data or self._marks[0].position == self._position):
            expected = self._marks.popleft()
            if self.mark() != expected:
                self._discard()
                raise ChecksumError(
                    f"{self._name} has md5 {self.mark().md5} after {self._position:,} bytes, but "
                    f"should have {expected.md5} after {expected.position:,}. {self._advice}"
                )
        return data

    def verify(self) -> None:
        """Read on to the end, where the md5 of all of it is compared with the record's."""
        while self.read(_READ_BYTES):
            pass

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _discard(self) -> None:
        self._reader.close()
        if self.partial is not None:
            self.partial.discard()


class _StoringReader(io.RawIOBase):
    """Reads a file that arrives: what `partial` holds, then what `open_at` reads, which is appended to it."""

    def __init__(self, partial: Partial, open_at: Callable[[int], io.RawIOBase]) -> None:
        super().__init__()
        self._partial, self._open_at = partial, open_at
        self._held = iter((partial.held() if partial.position else None) or ())
        self._buffer = memoryview(bytearray(BLOCK_BYTES))
        self._rest = self._buffer[:0]  # of the last block
        self._arriving: io.BufferedReader | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if not self._rest:
            self._rest = next(self._held, self._rest) or self._arrived()
        view = memoryview(buffer).cast("B")[: len(self._rest)]
        view[:] = self._rest[: len(view)]
        self._rest = self._rest[len(view) :]
        return len(view)

    def close(self) -> None:
        if self._arriving is not None:
            self._arriving.close()
        super().close()

    def _arrived(self) -> memoryview:
        if self._arriving is None:  # buffered, so that few small blocks are written
            self._arriving = io.BufferedReader(self._open_at(self._partial.position), BLOCK_BYTES)
        block = self._buffer[: self._arriving.readinto(self._buffer)]
        self._partial.append([block])
        return block
