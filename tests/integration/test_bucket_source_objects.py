"""Objects as files of a record: downloads and streams from a real server, over lines that break."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from bigearthnet.source.old.download import download
from bigearthnet.source.old.opening import Remote
from bigearthnet.source.old.record import RecordFile
from bigearthnet.source.old.stream import Stream
from bigearthnet.store.s3.objects import Bucket

from bigearthnet.errors import ChecksumError, SourceError, TransferError
from tests.support.line import Line
from tests.support.remotes import out_of
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration
pytest_plugins = ("tests.support.s3_fixtures",)

IMAGES = "BigEarthNet-S2.tar.zst"
TAR = random.Random(1).randbytes(3 << 20)
CONTENT = zstandard.compress(TAR)
SIZE, MD5 = len(CONTENT), hashlib.md5(CONTENT).hexdigest()  # noqa: S324


@pytest.fixture
def line(s3_server: S3Server) -> Iterator[Line]:
    with Line(s3_server.port) as line:
        yield line


@pytest.fixture
def remote(s3_server: S3Server, bucket: Bucket, line: Line) -> Remote:
    """Opens objects of the bucket over the line that breaks."""
    return out_of(Bucket(s3_server.client(url=line.url), bucket.place, SourceError))


@pytest.fixture
def file(bucket: Bucket) -> RecordFile:
    bucket.write(IMAGES, CONTENT)
    return RecordFile(IMAGES, SIZE, MD5, bucket.place.url(IMAGES))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def broken_off(remote: Remote, file: RecordFile, target: Path, line: Line) -> int:
    """Bytes that a download brought before its line broke for good."""
    counts: list[int] = []
    line.breaks.extend([2 << 20, *[0] * 100])
    with pytest.raises(TransferError, match=rf"expected byte \d+ of {file.location}, found nothing new in"):
        download(remote, file, target, on_bytes=counts.append)
    line.breaks.clear()
    assert 1 << 20 < sum(counts) < 2 << 20
    return sum(counts)


def test_an_object_is_downloaded_over_a_line_that_breaks(
    remote: Remote, file: RecordFile, target: Path, line: Line
) -> None:
    line.breaks.append(1 << 20)
    counts: list[int] = []
    assert download(remote, file, target, on_bytes=counts.append) == MD5
    assert target.read_bytes() == CONTENT
    assert sum(counts) == SIZE
    assert line.connections == 2


def test_a_download_goes_on_in_a_later_run(
    remote: Remote, bucket: Bucket, file: RecordFile, target: Path, broken_off: int
) -> None:
    ranges: list[str] = []
    opened = out_of(bucket)
    bucket.client.meta.events.register(
        "provide-client-params.s3.GetObject", lambda params, **_: ranges.append(params["Range"])
    )
    assert download(opened, file, target, on_bytes=lambda _: None) == MD5
    assert target.read_bytes() == CONTENT
    assert ranges == [f"bytes={broken_off}-{SIZE - 1}"]


def test_an_object_that_changed_between_two_runs_is_fetched_anew(
    bucket: Bucket, remote: Remote, file: RecordFile, target: Path, broken_off: int
) -> None:
    other = zstandard.compress(TAR[::-1])
    assert len(other) == SIZE
    bucket.write(IMAGES, other)
    later = replace(file, md5=None, etag=None)
    note = target.with_name("images.part.json")
    note.write_text(note.read_text().replace(f'"{MD5}"', "null"))  # begun as a file without md5
    counts: list[int] = []
    assert download(remote, later, target, on_bytes=counts.append) == hashlib.md5(other).hexdigest()  # noqa: S324
    assert target.read_bytes() == other
    assert -broken_off in counts


def test_an_object_that_changes_during_a_download_leaves_nothing(
    bucket: Bucket, remote: Remote, file: RecordFile, target: Path, line: Line
) -> None:
    def change(count: int) -> None:
        bucket.write(IMAGES, CONTENT[::-1])

    line.breaks.append(1 << 20)
    with pytest.raises(ChecksumError, match="found that it is another one now"):
        download(remote, file, target, on_bytes=change)
    assert list(target.parent.iterdir()) == []


def test_without_a_look_another_edition_is_refused(bucket: Bucket, remote: Remote, file: RecordFile) -> None:
    with (
        remote.open(file, 10, '"another"') as reader,
        pytest.raises(ChecksumError, match=rf'{file.location} changed .* "another" .* at byte 10; read'),
    ):
        reader.read(1)
    stored = bucket.head(IMAGES)
    assert stored
    with remote.open(file, 10, stored.etag) as reader:
        assert reader.read(5) == CONTENT[10:15]


@pytest.mark.parametrize("change", [{"size": SIZE - 1}, {"etag": '"another"'}])
def test_another_edition_than_the_one_listed_is_refused(
    remote: Remote, file: RecordFile, change: dict[str, str]
) -> None:
    with (
        remote.open(replace(file, **change)) as reader,  # type: ignore[arg-type]
        pytest.raises(
            ChecksumError, match=rf"expected {file.location} of .* as it was listed, found another"
        ),
    ):
        reader.begin()


def test_an_object_that_is_not_there_is_told(bucket: Bucket, remote: Remote, file: RecordFile) -> None:
    bucket.delete([IMAGES])
    with (
        remote.open(file) as reader,
        pytest.raises(SourceError, match=rf"expected {file.location}, found no such object; name a source"),
    ):
        reader.read(1)


def test_an_object_is_streamed_over_a_line_that_breaks(remote: Remote, file: RecordFile, line: Line) -> None:
    stream = Stream(remote, file, [], lambda _: None)
    assert line.connections == 0
    line.breaks.extend([1 << 20, 1 << 20])
    assert b"".join(stream.chunks) == TAR
    assert stream.mark().md5 == MD5
    assert line.connections == 3
    stream.close()


def test_a_streamed_object_with_another_md5_is_refused(remote: Remote, file: RecordFile) -> None:
    promised = replace(file, md5="0" * 32)
    with pytest.raises(
        ChecksumError, match=f"expected md5 0{{32}} over the first {SIZE:,} bytes, found {MD5}"
    ):
        list(Stream(remote, promised, [], lambda _: None).chunks)
