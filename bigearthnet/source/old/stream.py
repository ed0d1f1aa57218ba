"""An archive that is never on the disk: read from the network, and proven to be the record's.

Its md5 is known at its end only. What is made of it before then is kept together with a mark: where the
stream stood, and the md5 of all of it up to there. A later run has to read the stream from its beginning
anyway; where it passes a mark its own md5 must be the same, so that the md5 at the end vouches for what
the earlier run made, too.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from bigearthnet.archive.reader import decompress
from bigearthnet.errors import ChecksumError
from bigearthnet.source.old.opening import Remote
from bigearthnet.source.old.record import RecordFile


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How a stream begins: the md5 (hex) of its first `position` bytes."""

    position: int
    md5: str


class Stream:
    """A streamed archive and how far it was read.

    Args:
        remote: opens the archive where it lies; nothing is asked for before the first chunk is.
        file: the archive; the record states its md5.
        marks: of what earlier runs made of it.
        on_bytes: is told of bytes as they come.
    """

    def __init__(
        self, remote: Remote, file: RecordFile, marks: Iterable[Mark], on_bytes: Callable[[int], None]
    ) -> None:
        self._file = file
        self._reading = remote.open(file)
        self._marks = deque(sorted(set(marks)))
        self._on_bytes = on_bytes
        self._digest = hashlib.md5(usedforsecurity=False)
        self._position = self._proven = 0
        self.chunks = self._decompressed()

    def mark(self) -> Mark:
        """Where it stands."""
        return Mark(self._position, self._digest.hexdigest())

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes of the compressed stream, none at its end.

        Raises:
            ChecksumError: it is not the stream that an earlier run read.
        """
        if self._marks:
            size = min(size, self._marks[0].position - self._position)
        data = self._reading.read(size) or b""
        self._digest.update(data)
        self._position += len(data)
        self._on_bytes(len(data))
        while self._marks and self._marks[0].position == self._position:
            self._compare(self._marks.popleft())
        return data

    def settle(self) -> None:
        """Read on until what was read is proven: up to the next mark, or to the end.

        Raises:
            ChecksumError: it is not what it should be.
        """
        needed = self._position
        while self._proven < needed and next(self.chunks, None) is not None:
            pass

    def close(self) -> None:
        """Let go of the connection."""
        self.chunks.close()
        self._reading.close()

    def _decompressed(self) -> Generator[bytes, None, None]:
        """The tar inside, in chunks; at the end its md5 is the record's."""
        yield from decompress(self)
        while self.read(1 << 20):
            pass
        self._compare(Mark(self._file.size, str(self._file.md5)))

    def _compare(self, expected: Mark) -> None:
        if self.mark() != expected:
            raise ChecksumError(
                f"{self._file.name}: expected md5 {expected.md5} over the first {expected.position:,} bytes, "
                f"found {self._digest.hexdigest()} over {self._position:,} while streaming; what was made of "
                "it is dropped, run again"
            )
        self._proven = self._position
