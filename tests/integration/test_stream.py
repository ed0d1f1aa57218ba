"""A streamed archive against a real server: whose bytes it vouches for, and which it refuses."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from bigearthnet.source.old.http import Http, Patience
from bigearthnet.source.old.record import RecordFile
from bigearthnet.source.old.stream import Mark, Stream
from bigearthnet.source.old.zenodo import fetch_record

from bigearthnet.errors import ChecksumError
from tests.support.record_server import Fault, RecordServer
from tests.support.remotes import over_http

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

IMAGES = "BigEarthNet-S2.tar.zst"
CONTENT = random.Random(1).randbytes(3_000_000)
PACKED = zstandard.compress(CONTENT)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()  # noqa: S324


def mark_at(position: int, packed: bytes = PACKED) -> Mark:
    return Mark(position, md5(packed[:position]))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordServer]:
    (tmp_path / IMAGES).write_bytes(PACKED)
    (tmp_path / "Reference_Maps.tar.zst").write_bytes(b"maps")
    with RecordServer(tmp_path) as server:
        yield server


@pytest.fixture
def http() -> Http:
    return Http(Patience(connect_seconds=5, stall_seconds=1), sleep=lambda _: None)


@pytest.fixture
def file(http: Http, server: RecordServer) -> RecordFile:
    return fetch_record(http, server.record_url).require(IMAGES)


def stream_of(http: Http, file: RecordFile, *marks: Mark) -> Stream:
    return Stream(over_http(http), file, marks, lambda _: None)


def read_some(stream: Stream, least: int) -> None:
    while stream.mark().position < least:
        next(stream.chunks)


def test_it_gives_the_content_and_tells_of_every_byte(
    http: Http, file: RecordFile, server: RecordServer
) -> None:
    server.faults[IMAGES] = [Fault(break_after=1_000_000)]
    counts: list[int] = []
    stream = Stream(over_http(http), file, [], counts.append)
    assert b"".join(stream.chunks) == CONTENT
    assert sum(counts) == len(PACKED)


def test_nothing_is_asked_for_before_the_first_chunk(
    http: Http, file: RecordFile, server: RecordServer
) -> None:
    stream_of(http, file).close()
    assert server.requests_for(IMAGES) == []


def test_a_mark_is_the_md5_of_what_was_read(http: Http, file: RecordFile) -> None:
    stream = stream_of(http, file)
    read_some(stream, 1_000_000)
    assert 1_000_000 <= stream.mark().position < len(PACKED)
    assert stream.mark() == mark_at(stream.mark().position)


def test_marks_of_the_same_stream_are_passed(http: Http, file: RecordFile) -> None:
    marks = [mark_at(position) for position in (1, 131_072, 131_073, 2_000_000, len(PACKED))]
    assert b"".join(stream_of(http, file, *marks, *marks).chunks) == CONTENT


@pytest.mark.parametrize("position", [1, 131_072, 2_000_001])
def test_a_stream_that_began_otherwise_is_refused(http: Http, file: RecordFile, position: int) -> None:
    other = mark_at(position, b"other" + PACKED)
    stream = stream_of(http, file, mark_at(1), other, mark_at(2_500_000))
    with pytest.raises(ChecksumError, match=f"md5 {other.md5} over the first {position:,} bytes, found "):
        list(stream.chunks)
    assert stream.mark().position == position


def test_another_md5_at_the_end_is_refused(http: Http, file: RecordFile) -> None:
    promised = replace(file, md5=md5(b"another"))
    stream = stream_of(http, promised)
    with pytest.raises(ChecksumError, match=f"expected md5 {promised.md5} over the first {len(PACKED):,}"):
        list(stream.chunks)


def test_bytes_behind_the_frame_count_too(http: Http, server: RecordServer, tmp_path: Path) -> None:
    (tmp_path / IMAGES).write_bytes(PACKED + zstandard.compress(b""))
    file = fetch_record(http, server.record_url).require(IMAGES)
    stream = stream_of(http, file)
    assert b"".join(stream.chunks) == CONTENT
    assert stream.mark() == Mark(file.size, str(file.md5))


def test_settling_reads_to_the_next_mark(http: Http, file: RecordFile) -> None:
    stream = stream_of(http, file, mark_at(100), mark_at(2_000_000), mark_at(2_900_000))
    read_some(stream, 1_000_000)
    stream.settle()
    assert 2_000_000 <= stream.mark().position < 2_900_000


def test_settling_without_a_mark_ahead_reads_to_the_end(http: Http, file: RecordFile) -> None:
    stream = stream_of(http, replace(file, md5=md5(b"another")), mark_at(100))
    read_some(stream, 1_000_000)
    with pytest.raises(ChecksumError, match="while streaming"):
        stream.settle()


def test_settling_what_is_proven_reads_nothing(http: Http, file: RecordFile) -> None:
    stream = stream_of(http, file, mark_at(1_000_000))
    while stream.mark().position < 1_000_000:
        stream.read(1 << 17)
    stream.settle()
    assert stream.mark() == mark_at(1_000_000)


def test_a_byte_that_zstd_does_not_miss_is_missed_by_the_md5(
    http: Http, file: RecordFile, server: RecordServer
) -> None:
    server.faults[IMAGES] = [Fault(flip=2_000_000)]
    with pytest.raises(ChecksumError, match=f"expected md5 {file.md5} over the first {len(PACKED):,} bytes"):
        list(stream_of(http, file).chunks)
