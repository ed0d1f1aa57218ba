"""A streamed archive against a real server: which bytes it vouches for, and which it refuses."""

import pytest

from bigearthnet.errors import ChangedError, ChecksumError
from bigearthnet.source.record import RecordFile
from bigearthnet.source.stream import Mark, Stream
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
from bigearthnet.store.base import Partial
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MD5, SIZE, md5

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]


def mark_at(position: int, content: bytes = CONTENT) -> Mark:
    return Mark(position, md5(content[:position]))


def stream_of(source: ZenodoSource, file: RecordFile, *marks: Mark, partial: Partial | None = None) -> Stream:
    return Stream(source, file, marks, lambda _: None, partial=partial)


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
    message = rf"{IMAGES} has md5 \w+ after {position:,} bytes, but should have {other.md5} after"
    with pytest.raises(ChecksumError, match=message):
        read_all(stream)
    assert stream.mark().position == position


def test_a_mark_behind_the_end_is_refused(source: ZenodoSource, file: RecordFile) -> None:
    with pytest.raises(ChecksumError, match=f"after {SIZE:,} bytes, .* after {SIZE + 1:,}"):
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


def test_it_vouches_for_marks_that_were_given_and_made(source: ZenodoSource, file: RecordFile) -> None:
    stream = stream_of(source, file, mark_at(100))
    read_to(stream, 5000)
    stream.mark()
    stream.verify()
    assert {mark_at(100), mark_at(5000), Mark(SIZE, MD5)} <= stream.marks


@pytest.fixture
def partial(store: FolderStore, file: RecordFile) -> Partial:
    return store.resume(file.name, file.size, file.version)


def test_what_arrives_is_stored_and_read_first_by_the_next_stream(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore, partial: Partial
) -> None:
    first = stream_of(source, file, partial=partial)
    read_to(first, 700_000)
    held = partial.position
    assert 700_000 <= held < SIZE, "as it is read, not in the end"
    first.close()
    counts: list[int] = []
    second = Stream(source, file, [mark_at(700_000)], counts.append, partial=partial)
    assert read_all(second) == CONTENT
    second.close()
    assert sum(counts) == SIZE
    assert [request.headers.get("Range") for request in server.requests] == [None, f"bytes={held}-"]
    assert partial.commit().size == SIZE
    assert store.read(IMAGES) == CONTENT


def test_a_stored_stream_is_removed_where_it_is_wrong(
    server: RecordServer, source: ZenodoSource, file: RecordFile, partial: Partial
) -> None:
    server.faults[IMAGES] = [Fault(flip=1000)]
    with pytest.raises(ChecksumError, match=f"should have {MD5}"):
        stream_of(source, file, partial=partial).verify()
    assert partial.position == 0
    wrong = stream_of(source, file, mark_at(800_000, CONTENT[::-1]), partial=partial)
    with pytest.raises(ChecksumError, match="after 800,000 bytes"):
        wrong.verify()
    assert partial.position == 0


def test_a_stored_stream_is_removed_when_its_file_has_changed(
    server: RecordServer, source: ZenodoSource, file: RecordFile, partial: Partial
) -> None:
    server.faults[IMAGES] = [Fault(break_after=500_000)]
    stream = stream_of(source, file, partial=partial)
    read_to(stream, 100_000)
    (server.folder / IMAGES).write_bytes(CONTENT + b"more")
    with pytest.raises(ChangedError):
        stream.verify()
    assert partial.position == 0
