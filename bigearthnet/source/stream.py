"""An archive that is read once, from the network or a folder, never stored, and still checked.

Its md5 is known only at its end. What is made of it before then is kept together with a mark: the position
in the stream, and the md5 of everything before it. A later run has to read the stream from its beginning in
any case; at each mark its own md5 must be the same. So the md5 at the end also vouches for what the earlier
run made.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bigearthnet.errors import ChecksumError
from bigearthnet.source.opening import Source
from bigearthnet.source.parallel import ONE, Connections, open_file
from bigearthnet.source.record import RecordFile

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """The md5 (hex) of the first `position` bytes of a stream."""

    position: int
    md5: str


class Stream:
    """A streamed archive, whose md5 the record states; `marks` are of what earlier runs made of it."""

    def __init__(
        self,
        source: Source,
        file: RecordFile,
        marks: Iterable[Mark],
        on_bytes: Callable[[int], None],
        connections: Connections = ONE,
    ) -> None:
        self._name = file.name
        self._advice = "Run again." if source.folder is None else "Replace it, or what states its md5."
        self._reader = open_file(source, file, 0, connections)
        self._marks = deque(
            sorted({mark for mark in (*marks, Mark(file.size, str(file.md5))) if mark.position > 0})
        )
        self._on_bytes = on_bytes
        self._digest = hashlib.md5(usedforsecurity=False)
        self._position = 0

    def mark(self) -> Mark:
        """Return the mark of the current position."""
        return Mark(self._position, self._digest.hexdigest())

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes of the compressed stream; none at its end.

        Raises:
            ChecksumError: it differs from what an earlier run read, or from the record.
            TransferError, ChangedError, SourceError: as `ResumingReader`.
        """
        if self._marks:
            size = min(size, self._marks[0].position - self._position)
        data = self._reader.read(size) or b""
        self._digest.update(data)
        self._position += len(data)
        self._on_bytes(len(data))
        while self._marks and (not data or self._marks[0].position == self._position):
            expected = self._marks.popleft()
            if self.mark() != expected:
                raise ChecksumError(
                    f"{self._name} has md5 {self.mark().md5} after {self._position:,} streamed bytes, but "
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
