"""A streamed archive against a real server: which bytes it vouches for, and which it refuses."""

import pytest

from bigearthnet.errors import ChecksumError
from bigearthnet.source.record import RecordFile
from bigearthnet.source.stream import Mark, Stream
from bigearthnet.source.zenodo import ZenodoSource
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MD5, SIZE, md5

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]


def mark_at(position: int, content: bytes = CONTENT) -> Mark:
    return Mark(position, md5(content[:position]))


def stream_of(source: ZenodoSource, file: RecordFile, *marks: Mark) -> Stream:
    return Stream(source, file, marks, lambda _: None)


def read_all(stream: Stream) -> bytes:
    return b"".join(iter(lambda: stream.read(100_000), b""))


def read_to(stream: Stream, position: int) -> None:
    while stream.mark().position < position:
        stream.read(position - stream.mark().position)


def test_bytes_are_given_and_told_over_a_broken_connection(
    server: RecordServer, source: ZenodoSource, file: RecordFile
) -> None:
    server.faults[IMAGES] = [Fault(break_after=1_000_000)]
    counts: list[int] = []
    stream = Stream(source, file, [], counts.append)
    assert server.requests == [], "nothing is asked for before it is read"
    assert read_all(stream) == CONTENT
    assert sum(counts) == SIZE
    assert stream.mark() == Mark(SIZE, MD5)
    stream.close()


def test_marks_of_the_same_stream_are_passed(source: ZenodoSource, file: RecordFile) -> None:
    marks = [Mark(-1, MD5), *(mark_at(position) for position in (0, 1, 100_000, 100_001, SIZE))]
    stream = stream_of(source, file, *marks, *marks)
    read_to(stream, 100_000)
    assert stream.mark() == marks[3]
    assert CONTENT.endswith(read_all(stream))


@pytest.mark.parametrize("position", [1, 100_000, SIZE - 1, SIZE])
def test_a_stream_that_began_otherwise_is_refused(
    source: ZenodoSource, file: RecordFile, position: int
) -> None:
    other = mark_at(position, b"other" + CONTENT)
    stream = stream_of(source, file, mark_at(1), other)
    message = rf"{IMAGES} has md5 \w+ after {position:,} streamed bytes, but should have {other.md5} after"
    with pytest.raises(ChecksumError, match=message):
        read_all(stream)
    assert stream.mark().position == position


def test_a_mark_behind_the_end_is_refused(source: ZenodoSource, file: RecordFile) -> None:
    with pytest.raises(ChecksumError, match=f"after {SIZE:,} streamed bytes, .* after {SIZE + 1:,}"):
        read_all(stream_of(source, file, Mark(SIZE + 1, MD5)))


def test_verifying_reads_to_the_end(server: RecordServer, source: ZenodoSource, file: RecordFile) -> None:
    stream = stream_of(source, file, mark_at(100), mark_at(1_200_000))
    read_to(stream, 1_000_000)
    stream.verify()
    assert stream.mark().position == SIZE
    server.faults[IMAGES] = [Fault(flip=1_400_000)]
    wrong = stream_of(source, file, mark_at(100))
    read_to(wrong, 1_000_000)
    with pytest.raises(ChecksumError, match=f"should have {MD5} after {SIZE:,}"):
        wrong.verify()
