import base64
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bigearthnet.store.s3.objects
import pytest
from bigearthnet.store.s3.objects import Bucket, ConditionFailedError
from botocore.exceptions import ClientError

from bigearthnet.errors import ChecksumError, DestinationError, TransferError
from tests.support.moto_bucket import moto_bucket

MIB = 1 << 20


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with moto_bucket() as bucket:
        yield bucket


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def test_conditions_are_kept_by_a_server_that_has_them_all(bucket: Bucket) -> None:
    first = bucket.write("x", b"first", only_if_absent=True)
    with pytest.raises(ConditionFailedError, match="expected s3://bucket/data/x unchanged, found"):
        bucket.write("x", b"second", only_if_absent=True)
    deleted = []
    bucket.client.meta.events.register("before-call.s3.DeleteObject", lambda **_: deleted.append(1))
    second = bucket.write("x", b"second", only_if_etag=first)
    assert bucket.read_with_etag("x") == (b"second", second)
    for name in ("x", "y"):
        with pytest.raises(ConditionFailedError, match=f"expected s3://bucket/data/{name} unchanged"):
            bucket.write(name, b"third", only_if_etag=first)
    assert deleted == []  # replaced at once, never absent
    with pytest.raises(ConditionFailedError, match="unchanged"):
        bucket.delete_if("x", first)
    bucket.delete_if("x", second)
    bucket.delete_if("x", second)
    assert bucket.head("x") is None


def test_over_a_thousand_objects_are_listed_and_removed(bucket: Bucket) -> None:
    names = [f"{i:04d}" for i in range(1003)]
    for name in names:
        bucket.write(name, b"")
    assert [found.name for found in bucket.listing()] == names
    removed: list[int] = []
    bucket.client.meta.events.register(
        "provide-client-params.s3.DeleteObjects",
        lambda params, **_: removed.append(len(params["Delete"]["Objects"])),
    )
    bucket.delete(names)
    assert removed == [1000, 3]  # AWS takes no more at once
    assert list(bucket.listing()) == []


def test_every_request_with_bytes_carries_their_checksum(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PUT_LIMIT_BYTES", 5 * MIB)
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PART_BYTES", 5 * MIB)
    sent: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        sent.append(params["headers"]["x-amz-checksum-crc32"])

    completed: list[Any] = []
    events = bucket.client.meta.events
    events.register("before-call.s3.PutObject", note)
    events.register("before-call.s3.UploadPart", note)
    events.register(
        "provide-client-params.s3.CompleteMultipartUpload", lambda params, **_: completed.append(params)
    )
    begun: list[Any] = []
    events.register(
        "provide-client-params.s3.CreateMultipartUpload", lambda params, **_: begun.append(params)
    )
    data = random.Random(1).randbytes(7 * MIB)
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(b"small")

    bucket.write("x", b"object")
    bucket.upload(tmp_path / "small", "small")
    bucket.upload(tmp_path / "large", "large")

    parts = [crc32(data[: 5 * MIB]), crc32(data[5 * MIB :])]
    assert sent == [crc32(b"object"), crc32(b"small"), *parts]
    assert begun[0]["ChecksumAlgorithm"] == "CRC32"
    assert [part["ChecksumCRC32"] for part in completed[0]["MultipartUpload"]["Parts"]] == parts
    assert completed[0]["MpuObjectSize"] == 7 * MIB


def composite_told(bucket: Bucket, crc: str) -> None:
    """Let the server tell this checksum of checksums, as AWS does and moto does not."""

    def tell(parsed: dict[str, Any], **_: Any) -> None:
        parsed |= {"ChecksumType": "COMPOSITE", "ChecksumCRC32": crc}

    bucket.client.meta.events.register("after-call.s3.HeadObject", tell)


def send_two(bucket: Bucket) -> str:
    with bucket.multipart("x", {}) as upload:
        upload.send(b"a" * 5 * MIB)
        upload.send(b"b")
        return upload.complete()


def test_the_checksum_of_checksums_is_compared(bucket: Bucket) -> None:
    of_parts = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in (b"a" * 5 * MIB, b"b"))
    composite_told(bucket, f"{crc32(of_parts)}-2")
    send_two(bucket)
    assert bucket.read("x") == b"a" * 5 * MIB + b"b"


def test_another_checksum_of_checksums_removes_the_object(bucket: Bucket) -> None:
    composite_told(bucket, "AAAAAA==-2")
    message = r"with CRC-32 .*==-2, found 5242881 bytes with CRC-32 AAAAAA==-2; it is removed"
    with pytest.raises(ChecksumError, match=message):
        send_two(bucket)
    assert list(bucket.listing()) == []


def test_there_are_no_more_than_10_000_parts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigearthnet.store.s3.multipart, "MAX_PARTS", 1)
    with pytest.raises(DestinationError, match="expected at most 1 parts of s3://bucket/data/x, found more"):
        send_two(bucket)
    assert not bucket.client.list_multipart_uploads(Bucket="bucket").get("Uploads")


def test_parts_of_a_huge_file_are_larger(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PUT_LIMIT_BYTES", 5 * MIB)
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PART_BYTES", 5 * MIB)
    monkeypatch.setattr(bigearthnet.store.s3.objects, "MAX_PARTS", 2)
    (tmp_path / "x").write_bytes(bytes(13 * MIB))
    sizes: list[int] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        sizes.append(len(params["body"].getvalue()))

    bucket.client.meta.events.register("before-call.s3.UploadPart", note)
    bucket.upload(tmp_path / "x", "x")
    assert sizes == [13 * MIB // 2] * 2


def test_an_upload_that_cannot_be_aborted_tells_the_first_error(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "AbortMultipartUpload")

    bucket.client.meta.events.register("before-call.s3.AbortMultipartUpload", refuse)
    with pytest.raises(ZeroDivisionError), bucket.multipart("x", {}):
        raise ZeroDivisionError
    assert "expected to abort the upload to s3://bucket/data/x, found AccessDenied" in caplog.text
    assert "the permission s3:AbortMultipartUpload" in caplog.text


def test_a_completion_whose_answer_is_lost_does_not_fail_at_the_abort(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    def lose(**_: Any) -> None:
        raise KeyError("the answer")

    bucket.client.meta.events.register("after-call.s3.CompleteMultipartUpload", lose)
    with pytest.raises(TransferError, match="expected to complete the upload of s3://bucket/data/x"):
        send_two(bucket)
    assert bucket.head("x") is not None
    assert caplog.text == ""


def test_a_multipart_is_written_inside_its_block_only(bucket: Bucket) -> None:
    upload = bucket.multipart("x", {})
    with pytest.raises(ValueError, match="inside the with block"):
        upload.send(b"")


def test_objects_that_cannot_be_removed_are_told(bucket: Bucket) -> None:
    bucket.client.meta.events.register(
        "after-call.s3.DeleteObjects",
        lambda parsed, **_: parsed.update(Errors=[{"Key": "data/x", "Code": "AccessDenied"}]),
    )
    with pytest.raises(
        DestinationError, match=r"remove s3://bucket/data/x, found AccessDenied; .* s3:Delete"
    ):
        bucket.delete(["x"])
