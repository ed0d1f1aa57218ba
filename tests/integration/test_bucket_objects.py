import hashlib
import os
import random
import subprocess
import sys
import textwrap
from io import BytesIO
from pathlib import Path
from typing import Any

import bigearthnet.store.s3.objects
import pytest
from bigearthnet.store.s3.objects import Bucket, ConditionFailedError
from bigearthnet.store.s3.place import Listed, Place, Stored
from botocore.awsrequest import AWSPreparedRequest

from bigearthnet.errors import ChecksumError, DestinationError, SourceError, TransferError
from tests.support.s3_server import S3Server, make_client

pytestmark = pytest.mark.integration
pytest_plugins = ("tests.support.s3_fixtures",)

MIB = 1 << 20
METADATA = {"source-md5": "0" * 32, "digest": "abc"}


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files over 6 MiB go in parts of 5 MiB, so that no test needs 100 MiB."""
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PUT_LIMIT_BYTES", 6 * MIB)
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PART_BYTES", 5 * MIB)


def random_file(path: Path, size: int) -> bytes:
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    return data


def content(bucket: Bucket, name: str) -> bytes:
    """Read without this project."""
    key = f"{bucket.place.prefix}/{name}"
    return bucket.client.get_object(Bucket=bucket.place.bucket, Key=key)["Body"].read()


def unfinished(bucket: Bucket) -> list[str]:
    answer = bucket.client.list_multipart_uploads(Bucket=bucket.place.bucket)
    return [upload["Key"] for upload in answer.get("Uploads", [])]


def md5_etag(*parts: bytes) -> str:
    """The ETag of an object: md5, of the parts' md5s if there are several."""
    digests = [hashlib.md5(part, usedforsecurity=False) for part in parts]
    if len(digests) == 1:
        return f'"{digests[0].hexdigest()}"'
    joined = hashlib.md5(b"".join(d.digest() for d in digests), usedforsecurity=False)
    return f'"{joined.hexdigest()}-{len(parts)}"'


def test_what_is_written_is_found_again(bucket: Bucket) -> None:
    etag = bucket.write("tiles/a.json", b"{}", METADATA)
    assert etag == md5_etag(b"{}")
    assert bucket.read("tiles/a.json") == content(bucket, "tiles/a.json") == b"{}"
    assert bucket.read_with_etag("tiles/a.json") == (b"{}", etag)
    assert bucket.head("tiles/a.json") == Stored("tiles/a.json", 2, etag, METADATA)
    assert bucket.head("tiles/b.json") is None
    assert bucket.read("tiles/b.json") is None


def test_a_listing_is_of_the_prefix_alone(bucket: Bucket) -> None:
    for name in ("b", "a/2", "a/1"):
        bucket.write(name, name.encode())
    bucket.client.put_object(Bucket=bucket.place.bucket, Key="data/settings", Body=b"other")
    bucket.client.put_object(Bucket=bucket.place.bucket, Key="data/set2/b", Body=b"other")
    assert list(bucket.listing()) == [Listed(n, len(n), md5_etag(n.encode())) for n in ("a/1", "a/2", "b")]
    assert [found.name for found in bucket.listing("a/")] == ["a/1", "a/2"]
    bucket.delete(["a/1", "b", "not there"])
    assert [found.name for found in bucket.listing()] == ["a/2"]
    everything = Bucket(bucket.client, Place(bucket.place.bucket, ""))
    assert [found.name for found in everything.listing()] == ["data/set/a/2", "data/set2/b", "data/settings"]


def test_conditions_are_kept(bucket: Bucket) -> None:
    first = bucket.write("x", b"first", only_if_absent=True)
    with pytest.raises(ConditionFailedError, match=r"expected s3://.*/x unchanged, found"):
        bucket.write("x", b"second", only_if_absent=True)
    assert content(bucket, "x") == b"first"
    second = bucket.write("x", b"second", only_if_etag=first)
    assert content(bucket, "x") == b"second"
    with pytest.raises(ConditionFailedError, match="unchanged"):
        bucket.write("x", b"third", only_if_etag=first)
    with pytest.raises(ConditionFailedError, match="unchanged"):
        bucket.write("y", b"third", only_if_etag=first)
    assert content(bucket, "x") == b"second"
    with pytest.raises(ConditionFailedError, match="unchanged"):
        bucket.delete_if("x", first)
    assert content(bucket, "x") == b"second"
    bucket.delete_if("x", second)
    assert bucket.head("x") is None
    bucket.delete_if("x", second)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize(("size", "parts"), [(0, 1), (1, 1), (6 * MIB, 1), (10 * MIB, 2), (13 * MIB + 7, 3)])
def test_an_upload_is_the_file(bucket: Bucket, tmp_path: Path, size: int, parts: int) -> None:
    data = random_file(tmp_path / "a.zip", size)
    stored = bucket.upload(tmp_path / "a.zip", "a.zip", METADATA)
    pieces = [data] if parts == 1 else [data[i : i + 5 * MIB] for i in range(0, size, 5 * MIB)]
    assert len(pieces) == parts
    assert stored == bucket.head("a.zip") == Stored("a.zip", size, md5_etag(*pieces), METADATA)
    assert content(bucket, "a.zip") == data
    head = bucket.client.head_object(Bucket=bucket.place.bucket, Key="data/set/a.zip")
    assert head["ContentType"] == "application/zip"
    assert unfinished(bucket) == []


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("limit", [5 << 30, 10 * MIB], ids=["whole", "in parts"])
def test_a_copy_is_the_object_even_if_it_was_made_of_parts(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(bigearthnet.store.s3.objects, "MAX_PART_BYTES", limit)
    data = random_file(tmp_path / "a.zip", 13 * MIB)
    bucket.upload(tmp_path / "a.zip", "a.zip", METADATA)
    assert bucket.copy("a.zip", "b.zip") == bucket.head("b.zip")
    assert bucket.copy("a.zip", "c.zip", {"digest": "c"}) == bucket.head("c.zip")
    assert content(bucket, "b.zip") == content(bucket, "c.zip") == data
    heads = [bucket.head(name) for name in ("b.zip", "c.zip")]
    assert [head.metadata for head in heads if head] == [METADATA, {"digest": "c"}]
    with pytest.raises(DestinationError, match=r"to copy s3://.*/none, found no such object"):
        bucket.copy("none", "d.zip")


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_exception_in_the_middle_leaves_nothing_behind(
    bucket: Bucket, tmp_path: Path, error: type[BaseException]
) -> None:
    bucket.write("a.zip", b"what was there")
    random_file(tmp_path / "a.zip", 13 * MIB)
    parts = []

    def fail_at_the_second(**_: Any) -> None:
        parts.append(unfinished(bucket))
        if len(parts) == 2:
            raise error("in the middle")

    bucket.client.meta.events.register("before-call.s3.UploadPart", fail_at_the_second)
    with pytest.raises(error, match="in the middle"):
        bucket.upload(tmp_path / "a.zip", "a.zip")
    assert parts == [["data/set/a.zip"], ["data/set/a.zip"]]
    assert unfinished(bucket) == []
    assert content(bucket, "a.zip") == b"what was there"


KILLED = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import bigearthnet.store.s3.objects
    from bigearthnet.store.s3.objects import Bucket
    from bigearthnet.store.s3.place import parse_place
    from tests.support.s3_server import make_client

    url, access_key, secret_key, place, path = sys.argv[1:]
    bigearthnet.store.s3.objects.PUT_LIMIT_BYTES = bigearthnet.store.s3.objects.PART_BYTES = 5 << 20
    client = make_client(url, access_key, secret_key)
    numbers = []

    def wait_at_the_second(**_):
        numbers.append(None)
        if len(numbers) == 2:
            print("in the middle", flush=True)
            sys.stdin.read()

    client.meta.events.register("before-call.s3.UploadPart", wait_at_the_second)
    Bucket(client, parse_place(place)).upload(Path(path), "a.zip")
    """
)


def test_what_a_killed_process_left_is_swept_and_nothing_else(
    s3_server: S3Server, bucket: Bucket, tmp_path: Path
) -> None:
    random_file(tmp_path / "a.zip", 13 * MIB)
    keys = (s3_server.access_key, s3_server.secret_key)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, s3_server.url, *keys, str(bucket.place), tmp_path / "a.zip"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == "in the middle\n"
        child.kill()
    others = ["data/set/notes.txt", "data/set2/a.zip", "data/set/sub/a.zip", "a.zip"]
    for key in others:
        bucket.client.create_multipart_upload(Bucket=bucket.place.bucket, Key=key)
    assert sorted(unfinished(bucket)) == sorted(["data/set/a.zip", *others])

    assert bucket.sweep(lambda name: name == "a.zip") == 1
    assert sorted(unfinished(bucket)) == sorted(others)
    assert bucket.sweep(lambda name: name == "a.zip") == 0
    assert bucket.head("a.zip") is None


def test_bytes_damaged_on_their_way_are_refused(bucket: Bucket) -> None:
    def damage(request: AWSPreparedRequest, **_: Any) -> None:
        assert isinstance(request.body, BytesIO)
        assert request.body.getvalue() == b"sound"
        request.body = BytesIO(b"wound")

    bucket.client.meta.events.register("before-send.s3.PutObject", damage)
    with pytest.raises(TransferError, match=r"found XAmzContentSHA256Mismatch .*damaged on their way"):
        bucket.write("x", b"sound")
    assert bucket.head("x") is None


@pytest.mark.usefixtures("in_parts")
def test_an_upload_whose_parts_are_not_those_sent_is_not_completed(bucket: Bucket, tmp_path: Path) -> None:
    def lose_a_byte(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Parts"][1]["Size"] -= 1

    random_file(tmp_path / "a.zip", 13 * MIB)
    bucket.client.meta.events.register("after-call.s3.ListParts", lose_a_byte)
    message = f"expected part 2 of .*a.zip with {5 * MIB} bytes, found {5 * MIB - 1} on the server"
    with pytest.raises(ChecksumError, match=message):
        bucket.upload(tmp_path / "a.zip", "a.zip")
    assert bucket.head("a.zip") is None
    assert unfinished(bucket) == []


@pytest.mark.usefixtures("in_parts")
def test_a_completed_object_of_another_size_is_removed(bucket: Bucket, tmp_path: Path) -> None:
    def lose_a_byte(parsed: dict[str, Any], **_: Any) -> None:
        parsed["ContentLength"] -= 1

    random_file(tmp_path / "a.zip", 13 * MIB)
    bucket.client.meta.events.register("after-call.s3.HeadObject", lose_a_byte)
    with pytest.raises(
        ChecksumError, match=f"of {13 * MIB} bytes, found {13 * MIB - 1} bytes; it is removed"
    ):
        bucket.upload(tmp_path / "a.zip", "a.zip")
    assert list(bucket.listing()) == []


@pytest.mark.usefixtures("in_parts")
def test_a_file_that_grows_meanwhile_is_not_published(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    random_file(path, 13 * MIB)

    def grow(**_: Any) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    bucket.client.meta.events.register("before-call.s3.CreateMultipartUpload", grow)
    with pytest.raises(ChecksumError, match="found 13631492 in the file at its end; it changed"):
        bucket.upload(path, "a.zip")
    assert bucket.head("a.zip") is None
    assert unfinished(bucket) == []


def calls(bucket: Bucket, folder: Path) -> list[Any]:
    """Every kind of request."""
    path = folder / "file"
    path.write_bytes(b"content")
    return [
        lambda: bucket.head("x"),
        lambda: bucket.read("x"),
        lambda: list(bucket.listing()),
        lambda: bucket.write("x", b""),
        lambda: bucket.upload(path, "x"),
        lambda: bucket.copy("x", "y"),
        lambda: bucket.delete(["x"]),
        lambda: bucket.delete_if("x", '"etag"'),
        lambda: bucket.sweep(lambda _: True),
    ]


@pytest.mark.parametrize(
    ("access_key", "secret_key"), [("test:tester", "wrongsecret"), ("test:unknown", "testing")]
)
def test_wrong_credentials_are_told_without_telling_them(
    s3_server: S3Server, bucket: Bucket, tmp_path: Path, access_key: str, secret_key: str
) -> None:
    refused = Bucket(s3_server.client(access_key, secret_key), bucket.place)
    bucket.write("x", b"")
    for call in calls(refused, tmp_path):
        with pytest.raises(DestinationError) as caught:
            call()
        message = str(caught.value)
        assert str(bucket.place) in message
        assert "check access key and secret key" in message or "check that they are the right ones" in message
        assert secret_key not in message
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_a_missing_permission_is_named(s3_server: S3Server, bucket: Bucket, tmp_path: Path) -> None:
    client = s3_server.client(s3_server.stranger_key, s3_server.stranger_secret)
    bucket.write("x", b"")
    permissions = ["GetObject", "GetObject", "ListBucket", "PutObject", "PutObject", "GetObject"]
    permissions += ["DeleteObject", "DeleteObject", "ListBucketMultipartUploads"]
    for call, permission in zip(calls(Bucket(client, bucket.place), tmp_path), permissions, strict=True):
        with pytest.raises(DestinationError, match=rf"{bucket.place}.* the permission s3:{permission} "):
            call()
    with pytest.raises(SourceError, match="the permission s3:GetObject"):
        Bucket(client, bucket.place, SourceError).head("x")


def test_a_missing_bucket_is_named(s3_server: S3Server, tmp_path: Path) -> None:
    missing = Bucket(s3_server.client(), Place("no-such-bucket", "data"))
    for call in calls(missing, tmp_path):
        with pytest.raises(
            DestinationError, match=r"s3://no-such-bucket/data.*; create the bucket, or correct"
        ):
            call()


def test_no_server_is_worth_another_try(tmp_path: Path) -> None:
    unreachable = Bucket(make_client("http://127.0.0.1:1", "key", "secret"), Place("bucket", "data"))
    with pytest.raises(TransferError, match=r"found no whole answer \(Could not connect .*try again later"):
        unreachable.head("x")


@pytest.mark.usefixtures("in_parts")
def test_memory_does_not_depend_on_the_size_of_a_file(bucket: Bucket, tmp_path: Path) -> None:
    """Bytes at most alive in Python while 60 MiB go up in parts of 5 MiB."""
    import tracemalloc  # noqa: PLC0415

    path = tmp_path / "large"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 60 * MIB)
    bucket.head("warm")  # up the connection
    tracemalloc.start()
    try:
        bucket.upload(path, "large")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25 * MIB
