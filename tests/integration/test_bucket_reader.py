import io
import random
from collections.abc import Iterator

import pytest
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed, Stored
from bigearthnet.store.s3.reader import BucketReader, read_range

from bigearthnet.errors import ChecksumError, SourceError, TransferError
from tests.support.line import Line
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration
pytest_plugins = ("tests.support.s3_fixtures",)

MIB = 1 << 20
DATA = random.Random(1).randbytes(3 * MIB)


@pytest.fixture
def line(s3_server: S3Server) -> Iterator[Line]:
    with Line(s3_server.port) as line:
        yield line


@pytest.fixture
def weak(s3_server: S3Server, bucket: Bucket, line: Line) -> Bucket:
    """The same bucket over the line that breaks."""
    return Bucket(s3_server.client(url=line.url), bucket.place, SourceError)


@pytest.fixture
def source(bucket: Bucket) -> Stored:
    bucket.write("archive", DATA)
    stored = bucket.head("archive")
    assert stored is not None
    return stored


class Waits(list[float]):
    """Notes how long it should have slept."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, None), (1, 2), (MIB, None), (5, 2 * MIB), (7, 7), (3 * MIB, None), (2 * MIB, 9 * MIB)],
)
def test_a_range_is_that_of_the_object(bucket: Bucket, source: Stored, start: int, stop: int | None) -> None:
    with BucketReader(bucket, source, start, stop) as reader:
        assert io.BufferedReader(reader, 1000).read() == DATA[start:stop]
        assert reader.position == min(stop or len(DATA), len(DATA))
    assert read_range(bucket, source, start, stop or len(DATA)) == DATA[start:stop]


def test_an_empty_object_has_no_bytes(bucket: Bucket) -> None:
    etag = bucket.write("empty", b"")
    with BucketReader(bucket, Listed("empty", 0, etag)) as reader:
        assert reader.read() == b""


def test_a_broken_line_is_taken_up_where_it_broke(weak: Bucket, source: Stored, line: Line) -> None:
    line.breaks.extend([MIB, 700_000, None])
    waits = Waits()
    with BucketReader(weak, source, sleep=waits) as reader:
        assert reader.readall() == DATA
    assert line.connections == 3
    assert waits == [2, 2]


def test_a_line_that_brings_nothing_is_given_up(weak: Bucket, source: Stored, line: Line) -> None:
    line.breaks.extend([MIB, *[100] * 20])
    waits = Waits()
    reader = BucketReader(weak, source, sleep=waits)
    with pytest.raises(
        TransferError, match=r"expected byte \d+ of s3://.*/archive, found nothing new in 6 tries"
    ):
        reader.readall()
    assert reader.position > MIB // 2
    assert waits == [2, 4, 8, 16, 32]


def test_an_object_that_changes_is_never_mixed(
    bucket: Bucket, weak: Bucket, source: Stored, line: Line
) -> None:
    def write_another(_: float) -> None:
        bucket.write("archive", DATA[::-1])

    line.breaks.append(MIB)
    reader = BucketReader(weak, source, sleep=write_another)
    with pytest.raises(ChecksumError, match=r"/archive, found that it is another one now"):
        reader.readall()
    assert 0 < reader.position < MIB


def test_another_size_than_expected_is_noticed(bucket: Bucket, source: Stored) -> None:
    reader = BucketReader(bucket, Listed("archive", source.size - 1, source.etag))
    with pytest.raises(ChecksumError, match=rf"expected bytes 0-{3 * MIB - 2}/{3 * MIB - 1} of .*/{3 * MIB}"):
        reader.readall()


def test_an_object_that_is_gone_is_a_source_that_is_not_there(weak: Bucket, source: Stored) -> None:
    weak.delete(["archive"])
    with pytest.raises(SourceError, match=r"expected to read .*/archive, found NoSuchKey .*it is not there"):
        BucketReader(weak, source).readall()


def test_a_closed_reader_reads_no_more(bucket: Bucket, source: Stored) -> None:
    reader = BucketReader(bucket, source)
    assert reader.read(10) == DATA[:10]
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read(10)
