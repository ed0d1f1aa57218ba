import random
from collections.abc import Iterator

import pytest
from bigearthnet.store.s3.multipart import Upload
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.unfinished import abort_unfinished, unfinished

from bigearthnet.errors import DestinationError
from tests.support.moto_bucket import moto_bucket

MIB = 1 << 20
DATA = random.Random(1).randbytes(12 * MIB)
PARTS = [DATA[: 5 * MIB], DATA[5 * MIB : 10 * MIB], DATA[10 * MIB :]]


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with moto_bucket() as bucket:
        yield bucket


def upload_to(bucket: Bucket, key: str = "data/x") -> Upload:
    return Upload(bucket.client, bucket.place.bucket, key, {"a": "b"}, "application/zip")


def send(bucket: Bucket, upload_id: str, number: int, data: bytes) -> None:
    """A part, without this project."""
    bucket.client.upload_part(
        Bucket="bucket",
        Key="data/x",
        UploadId=upload_id,
        PartNumber=number,
        Body=data,
        ChecksumAlgorithm="CRC32",
    )


@pytest.mark.parametrize(
    ("there", "usable"),
    [
        ({}, 0),
        ({1: PARTS[0]}, 5 * MIB),
        ({1: PARTS[0], 2: PARTS[1]}, 10 * MIB),
        ({1: PARTS[0], 2: PARTS[1], 3: PARTS[2]}, 12 * MIB),
        ({2: PARTS[1]}, 0),
        ({1: PARTS[0], 3: PARTS[2]}, 5 * MIB),
        ({1: PARTS[0], 2: b"short"}, 5 * MIB),
        ({1: PARTS[0], 2: PARTS[1], 3: PARTS[0]}, 10 * MIB),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else str(value),
)
def test_an_upload_is_gone_on_with_behind_its_whole_parts(
    bucket: Bucket, there: dict[int, bytes], usable: int
) -> None:
    upload_id = upload_to(bucket).begin()
    for number, data in there.items():
        send(bucket, upload_id, number, data)
    upload = upload_to(bucket)
    upload.go_on(upload_id, len(DATA), 5 * MIB)
    assert upload.size == usable
    for start in range(usable, len(DATA), 5 * MIB):
        upload.send(DATA[start : start + 5 * MIB])
    upload.complete()
    answer = bucket.client.get_object(Bucket="bucket", Key="data/x")
    assert answer["Body"].read() == DATA
    assert (answer["Metadata"], answer["ContentType"]) == ({"a": "b"}, "application/zip")


def test_an_upload_outlives_what_made_it_until_it_is_aborted(bucket: Bucket) -> None:
    upload = upload_to(bucket)
    upload_id = upload.begin()
    upload.send(b"part")
    assert unfinished(bucket.client, "bucket", "data/") == [("data/x", upload_id)]
    upload.abort()
    assert unfinished(bucket.client, "bucket", "data/") == []
    upload.abort()


def test_nothing_is_sent_before_an_upload_is_begun(bucket: Bucket) -> None:
    with pytest.raises(ValueError, match=r"expected to write s3://bucket/data/x .* or after begin or go_on"):
        upload_to(bucket).send(b"")


def test_an_upload_that_is_gone_is_told(bucket: Bucket) -> None:
    with pytest.raises(DestinationError, match="list the parts of s3://bucket/data/x, found NoSuchUpload"):
        upload_to(bucket).go_on("gone", 1, 1)


def test_all_uploads_of_a_key_but_one_are_aborted(bucket: Bucket) -> None:
    mine, stale = (upload_to(bucket).begin() for _ in range(2))
    other = upload_to(bucket, "data/xy").begin()
    assert abort_unfinished(bucket.client, "bucket", "data/x", lambda key: key == "data/x", but=mine) == 1
    assert stale not in (mine, other)
    assert unfinished(bucket.client, "bucket", "") == [("data/x", mine), ("data/xy", other)]
