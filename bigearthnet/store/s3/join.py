"""Joining shards that lie in a bucket into one zip there: the server copies the members' bytes.

The plan is `compose.Join`'s; what is added here is how its sections become parts of a multipart upload.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from bigearthnet.store.s3.multipart import Multipart
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.parts import MAX_PART_BYTES, MIN_PART_BYTES, ranges
from bigearthnet.store.s3.place import Listed
from bigearthnet.store.s3.reader import read_range
from bigearthnet.zips.format import TAIL_BYTES, Tail, parse_tail
from bigearthnet.zips.join import ReadCentral, Section, plan_join

_CENTRAL_PART_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class BucketShard:
    """A shard in the bucket, and its end records."""

    source: Listed
    tail: Tail


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `stop` of the shard of that name."""

    source: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Parts:
    """The sections of a join as parts of an upload.

    Attributes:
        whole: the parts in order; one of a single piece that is large enough is copied on the server,
            any other goes through the client.
        rest: what is too small for a part, to be sent with the central directory.
    """

    whole: tuple[tuple[Piece, ...], ...]
    rest: tuple[Piece, ...]


def tail_of(bucket: Bucket, shard: Listed, *, sleep: Callable[[float], None] = time.sleep) -> Tail:
    """Read the end records of a shard in the bucket.

    Raises:
        ArchiveError: it does not end as a zip of this project, so it may be cut off.
        ChecksumError, DestinationError, TransferError: it cannot be read; `BucketReader.readinto` says more.
    """
    data = read_range(bucket, shard, max(0, shard.size - TAIL_BYTES), shard.size, sleep=sleep)
    return parse_tail(data, shard.size, bucket.place.url(shard.name))


@contextmanager
def joined(
    bucket: Bucket,
    shards: Sequence[BucketShard],
    target: str,
    metadata: Mapping[str, str],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Multipart]:
    """Join shards to the zip `target`, byte for byte the one that `compose.join_to_file` makes of them.

    In the block all parts are on the server, and `complete` lets the zip take its place; what was at
    `target` is there until then. Through the client go only the shards' central directories and what is
    too small to be copied, about 10 MiB at a time.

    Args:
        bucket: where the shards lie, and the zip will.
        shards: the names of their members ascending from one to the next.
        target: name of the zip.
        metadata: of the zip.
        sleep: waits that many seconds, before reading again what broke off.

    Raises:
        ArchiveError: a shard is not as this project writes it, or names do not ascend.
        ChecksumError: a shard changed meanwhile, or the server made another zip of the parts.
        DestinationError: the server refuses.
        TransferError: the server does not answer.
    """
    sources = {shard.source.name: shard.source for shard in shards}
    plan = plan_join([(shard.source.name, shard.tail) for shard in shards])

    def read(piece: Piece) -> bytes:
        return read_range(bucket, sources[piece.source], piece.start, piece.stop, sleep=sleep)

    parts = plan_parts(plan.sections)
    with bucket.multipart(target, metadata) as upload:
        for pieces in parts.whole:
            if is_copied(pieces):
                (piece,) = pieces
                source = sources[piece.source]
                upload.copy(bucket.place.key(source.name), source.etag, piece.start, piece.stop)
            else:
                upload.send(b"".join(map(read, pieces)))
        rest = b"".join(map(read, parts.rest))
        for data in _parts_of(rest, plan.central_directory(central_reader(bucket, shards, sleep=sleep))):
            upload.send(data)
        yield upload


def central_reader(
    bucket: Bucket, shards: Sequence[BucketShard], *, sleep: Callable[[float], None] = time.sleep
) -> ReadCentral:
    """Reads the central directories of shards in the bucket."""
    sources = {shard.source.name: shard.source for shard in shards}

    def read(section: Section) -> bytes:
        stop = section.length + section.central_size
        return read_range(bucket, sources[str(section.source)], section.length, stop, sleep=sleep)

    return read


def plan_parts(
    sections: Sequence[Section], *, least: int = MIN_PART_BYTES, most: int = MAX_PART_BYTES
) -> Parts:
    """Cut sections into parts; no byte goes through the client that need not.

    Args:
        sections: of a join, in order.
        least: bytes of any part but the last of an upload.
        most: bytes of any part; twice `least` or more.
    """
    whole: list[tuple[Piece, ...]] = []
    rest: list[Piece] = []
    for section in sections:
        name, start = str(section.source), 0
        if rest:
            missing = least - sum(piece.size for piece in rest)
            start = missing if section.length - missing >= least else section.length
            rest.append(Piece(name, 0, start))
        elif section.length < least:
            start = section.length
            rest.append(Piece(name, 0, start))
        if sum(piece.size for piece in rest) >= least:
            whole.append(tuple(rest))
            rest = []
        whole += [(Piece(name, *cut),) for cut in ranges(start, section.length, most)]
    return Parts(tuple(whole), tuple(rest))


def is_copied(pieces: tuple[Piece, ...]) -> bool:
    """Whether the server copies a part by itself."""
    return len(pieces) == 1


def _parts_of(beginning: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    buffer = bytearray(beginning)
    for chunk in chunks:
        buffer += chunk
        if len(buffer) >= _CENTRAL_PART_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
