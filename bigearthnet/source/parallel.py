"""A large file read over several connections: each fetches a block, and the blocks are read in their order.

Blocks wait in files until all before them have been read, so that memory does not depend on their size.
"""

import contextvars
import heapq
import io
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bigearthnet.errors import TransferError
from bigearthnet.progress import counted
from bigearthnet.source.blocks import Block, BlockFiles, KeptBlocks, UnnamedBlocks
from bigearthnet.source.opening import Source
from bigearthnet.source.record import RecordFile
from bigearthnet.store.reader import LimitedError, ResumingReader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES: Final = 64 << 20
"""Fetched by one request: 63 GB take 943, and Zenodo lets guests make 2,000 an hour."""
_BLOCKS_A_CONNECTION: Final = 2
"""Blocks that may be in files, so that a fast connection need not wait for a slow one."""
_READ_BYTES: Final = 512 << 10
"""Collected before they are written and told, as both cost more CPU for each small piece that arrives."""
_JOIN_SECONDS: Final = 5.0
_WAKE_SECONDS: Final = 1.0
"""Python sees a signal that comes just before a thread waits, such as a cancellation, only after the wait."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connections:
    """How large files are read: over at most `most` connections, with blocks that wait in `folder`."""

    most: int
    folder: Path

    def are_one_for(self, size: int) -> bool:
        """Return True if a file, or the rest of one, is read over one connection."""
        return self.most == 1 or size < 2 * BLOCK_BYTES

    def room(self, size: int) -> int:
        """Return the bytes of a file of this size that may wait in blocks."""
        return 0 if self.are_one_for(size) else self.most * _BLOCKS_A_CONNECTION * BLOCK_BYTES


ONE: Final = Connections(1, Path())
"""Every file over one connection."""


def open_file(
    source: Source, file: RecordFile, start: int, connections: Connections, kept: Path | None = None
) -> "ResumingReader | ParallelReader":
    """Open a file at a byte, over several connections if it is large and in no folder.

    In the folder `kept`, for this version of the file alone, blocks are left to a later run if the reader is
    closed before their turn.
    """
    if source.folder is not None or connections.are_one_for(file.size - start):
        return source.open(file, start)
    blocks = UnnamedBlocks(connections.folder) if kept is None else KeptBlocks.go_on(kept, start)
    return ParallelReader(source, file, start, connections.most, blocks, Pace(source.seconds_a_request))


class Pace:
    """Lets at least `seconds` pass between two requests, in any threads."""

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._clock, self._sleep = seconds, clock, sleep
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self) -> None:
        """Wait until the next request may be made."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now)
            self._next = turn + self._seconds
        if turn > now:
            self._sleep(turn - now)


class ParallelReader(io.RawIOBase):
    """Reads a file from a byte on, as `ResumingReader`, over several connections.

    There is one less when the server limits them (403, 429), or when all tries of one fail; a server that
    sends whole files for ranges gets one. Any other error of a connection is raised by the next read.
    """

    def __init__(
        self,
        source: Source,
        file: RecordFile,
        start: int,
        connections: int,
        files: BlockFiles,
        pace: Pace,
    ) -> None:
        super().__init__()
        self.position = start  # of the next byte
        self.name = f"{file.name} from {source}"
        self._source, self._file = source, file
        self._files, self._pace = files, pace
        self._window = connections * _BLOCKS_A_CONNECTION
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()  # guards what follows
        self._first = self._next = start  # byte of the first block, and of the next one to begin
        self._blocks: dict[int, Block] = {}  # those that were begun and not read, by their first bytes
        self._given_back: list[int] = []  # the first bytes of those that another connection goes on with
        self._allowed = self._running = connections
        self._readers: set[ResumingReader] = set()
        self._arrived = False  # any byte; before, there is one connection, which may be refused
        self._error: BaseException | None = None
        self._stopped = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read what has arrived into the buffer; 0 only at the file's end. Raises as `ResumingReader`."""
        if self.closed:
            raise ValueError("read of a closed file")
        view = memoryview(buffer).cast("B")[: self._file.size - self.position]
        if not view:
            return 0
        if not self._threads:
            self._start()
        block = self._wait_for_bytes()
        count = block.read(self.position, view)
        self.position += count
        if self.position == block.stop:
            with self._changed:
                del self._blocks[block.start]
                self._changed.notify_all()
            self._files.remove(block)
        return count

    def close(self) -> None:
        """End all connections. One that waits before another try ends after that, without writing."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            for reader in self._readers:
                reader.interrupt()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        with self._changed:
            while self._blocks:
                self._blocks.popitem()[1].close()
        super().close()

    def _start(self) -> None:
        for number in range(self._running):
            context = contextvars.copy_context()  # by it the lines of a thread belong to the run's log
            name = f"connection {number + 1} for {self._file.name}"
            thread = threading.Thread(target=context.run, args=(self._fetch,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _wait_for_bytes(self) -> Block:
        start = max(self._first, self.position - self.position % BLOCK_BYTES)
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                block = self._blocks.get(start)
                if block is not None and block.end > self.position:
                    return block
                self._changed.wait(_WAKE_SECONDS)

    # What follows runs in the threads.

    def _fetch(self) -> None:
        reader: ResumingReader | None = None
        try:
            while (block := self._take()) is not None:
                try:
                    if block.end < block.stop:
                        reader = self._reader_at(block, reader)
                        self._fill(block, reader)
                except TransferError as error:
                    self._close(reader)
                    reader = None
                    self._give_back(block, error)
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
        finally:
            self._close(reader)

    def _take(self) -> Block | None:
        """Wait for a block to fetch; None if the connection is to end."""
        with self._changed:
            while not self._stopped:
                if self._running > self._allowed:
                    self._running -= 1
                    return None
                if self._given_back:
                    return self._blocks[heapq.heappop(self._given_back)]
                window = self._window if self._arrived else 1
                if self._next < self._file.size and len(self._blocks) < window:
                    return self._begin()
                self._changed.wait()
        return None

    def _begin(self) -> Block:
        start = self._next
        self._next = min(start - start % BLOCK_BYTES + BLOCK_BYTES, self._file.size)
        self._blocks[start] = self._files.open(start, self._next)
        return self._blocks[start]

    def _reader_at(self, block: Block, reader: ResumingReader | None) -> ResumingReader:
        """Return what reads the missing bytes of a block; the only connection reads on behind it."""
        if reader is not None and reader.position == block.end and reader.stop > block.end:
            return reader
        self._close(reader)
        self._pace.wait()
        with self._changed:
            others = self._allowed > 1
            stop = block.stop if others else self._end_of_gap(block)
            reader = self._source.open(self._file, block.end, stop, others=others)
            self._readers.add(reader)
            if self._stopped:
                reader.interrupt()
        return reader

    def _end_of_gap(self, block: Block) -> int:
        """Return up to where the only connection reads in one request: no bytes are fetched twice."""
        if self._given_back and self._given_back[0] < block.start:
            return block.stop
        for start, later in sorted(self._blocks.items()):
            if start > block.start and (later.end > start or start not in self._given_back):
                return start
        return self._file.size

    def _fill(self, block: Block, reader: ResumingReader) -> None:
        buffer = memoryview(bytearray(_READ_BYTES))
        while block.end < block.stop and not self._stopped:
            room, count = buffer[: block.stop - block.end], 0
            try:
                while count < len(room) and (arrived := reader.readinto(room[count:])):
                    count += arrived
                    self._let_others_begin()
            finally:
                self._append(block, room[:count])

    def _append(self, block: Block, data: memoryview) -> None:
        with self._changed:
            if not self._stopped:  # else another reader may have the block
                block.append(data)
                self._changed.notify_all()

    def _let_others_begin(self) -> None:
        if not self._arrived:
            with self._changed:
                self._arrived = True
                self._changed.notify_all()

    def _give_back(self, block: Block, error: TransferError) -> None:
        """Leave a block to the other connections, of which there is one less now; the last one fails."""
        limit = error if isinstance(error, LimitedError) else None
        with self._changed:
            if self._stopped or (self._running == 1 and limit is None):
                raise error
            allowed = 1 if limit and limit.sends_whole_files else max(self._running - 1, 1)
            if allowed < self._allowed:
                self._allowed = allowed
                logger.warning("%s: %s; going on over %s", self.name, error, counted(allowed, "connection"))
            heapq.heappush(self._given_back, block.start)
            self._changed.notify_all()

    def _close(self, reader: ResumingReader | None) -> None:
        if reader is not None:
            with self._changed:
                self._readers.discard(reader)
            reader.close()
