"""What a real S3 server refuses, damages or loses."""

import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import urllib3
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session

import bigearthnet.store.s3.lease
import bigearthnet.store.s3.store
from bigearthnet.errors import BusyError, ChecksumError, DestinationError, SourceError, TransferError
from bigearthnet.store import Store, StoredFile
from bigearthnet.store.s3 import S3Store
from tests.support.line import Line
from tests.support.places import BucketPlace, moto_place, new_bucket
from tests.support.s3_server import S3Server, make_client

pytestmark = pytest.mark.integration
pytest_plugins = ("tests.support.s3_fixtures",)

MIB = 1 << 20
DATA = os.urandom(13 * MIB)


@pytest.fixture
def place(s3_server: S3Server) -> BucketPlace:
    return new_bucket(s3_server.client())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.zip").write_bytes(DATA)
    return tmp_path / "a.zip"


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigearthnet.store.s3.store, "PUT_LIMIT_BYTES", 6 * MIB)


def calls(store: Store, path: Path) -> list[tuple[str, Callable[[], object]]]:
    """Calls of every kind, each with the permission that it needs first."""
    return [
        ("GetObject", lambda: store.head("x")),
        ("GetObject", lambda: store.open(StoredFile("x", 1, '"etag"')).read(1)),
        ("ListBucket", lambda: list(store.list())),
        ("PutObject", lambda: store.write("x", b"")),
        ("PutObject", lambda: store.upload(path, "x")),
        ("DeleteObject", lambda: store.delete(["x"])),
        ("GetObject", lambda: store.resume("x", 1, None)),
    ]


def test_a_missing_permission_is_named(s3_server: S3Server, place: BucketPlace, path: Path) -> None:
    client = s3_server.client(s3_server.stranger_key, s3_server.stranger_secret)
    stranger = S3Store(client, place.bucket, place.prefix)
    with pytest.raises(DestinationError, match="permission s3:GetObject"):
        stranger.write("x", b"")
    stranger._is_ours = True  # what it could not find out
    for permission, call in calls(stranger, path):
        message = rf"s3://{place.bucket}/data/set.* the permission s3:{permission} "
        with pytest.raises(DestinationError, match=message):
            call()


@pytest.mark.parametrize(("key", "secret"), [("test:tester", "wrongsecret"), ("test:unknown", "testing")])
def test_wrong_credentials_are_said_and_not_shown(
    s3_server: S3Server, place: BucketPlace, path: Path, key: str, secret: str
) -> None:
    refused = S3Store(s3_server.client(key, secret), place.bucket, place.prefix, SourceError)
    refused._is_ours = True
    for _, call in calls(refused, path):
        with pytest.raises(
            SourceError, match=r"(Check the access key and the secret|use other ones)"
        ) as caught:
            call()
        assert secret not in str(caught.value)
        assert caught.value.__suppress_context__


def test_a_missing_bucket_is_named(s3_server: S3Server, path: Path) -> None:
    missing = S3Store(s3_server.client(), "no-such-bucket", "data")
    for call in [call for _, call in calls(missing, path)] + [missing.lock("run").__enter__]:
        with pytest.raises(
            DestinationError, match=r"s3://no-such-bucket/data.*\. Create the bucket, or correct"
        ):
            call()


def test_bytes_damaged_on_their_way_are_refused(place: BucketPlace) -> None:
    def damage(request: AWSPreparedRequest, **_: Any) -> None:
        assert isinstance(request.body, BytesIO)
        if request.body.getvalue() == b"sound":
            request.body = BytesIO(b"wound")

    place.client.meta.events.register("before-send.s3.PutObject", damage)
    with pytest.raises(TransferError, match=r"XAmzContentSHA256Mismatch .*damaged on their way"):
        place.open().write("x", b"sound")
    assert "x" not in place.files()


@pytest.mark.parametrize("setting", ["when_supported", "when_required"])
def test_checksums_go_along_as_the_settings_ask(setting: Any, path: Path) -> None:
    """Some servers refuse checksum headers; Content-MD5 is known to all."""
    with moto_place() as place:
        sent: list[tuple[str, dict[str, Any]]] = []
        place.client.meta.config.request_checksum_calculation = setting

        def note(params: dict[str, Any], model: Any, **_: Any) -> None:
            sent.append((model.name, {name.lower() for name in params["headers"]}))

        place.client.meta.events.register("before-call.s3", note)
        store = place.open()
        store.write("x", b"1")
        with store.stage("y", [path], "0" * 64) as staged:
            staged.commit()
        for name, headers in sent:
            if name in ("PutObject", "UploadPart"):
                assert ("x-amz-checksum-crc32" in headers) == (setting == "when_supported")
                assert ("content-md5" in headers) == (setting == "when_required")
            else:
                assert ("x-amz-checksum-algorithm" in headers) <= (setting == "when_supported")
        assert place.files()["y"] == DATA


@pytest.mark.usefixtures("in_parts")
def test_parts_that_are_not_those_sent_are_not_completed(place: BucketPlace, path: Path) -> None:
    def lose_a_byte(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Parts"][1]["Size"] -= 1

    store = place.open()
    place.client.meta.events.register("after-call.s3.ListParts", lose_a_byte)
    with pytest.raises(
        ChecksumError, match=f"part 2 has {5 * MIB - 1} bytes on the server, and {5 * MIB} were"
    ):
        store.upload(path, "a.zip")
    assert "a.zip" not in place.files()
    assert place.unfinished() == []


@pytest.mark.usefixtures("in_parts")
def test_a_completed_object_of_another_size_is_removed(place: BucketPlace, path: Path) -> None:
    def lose_a_byte(parsed: dict[str, Any], **_: Any) -> None:
        parsed["ContentLength"] = parsed.get("ContentLength", 1) - 1

    store = place.open()
    store.write("other", b"")
    place.client.meta.events.register("after-call.s3.HeadObject", lose_a_byte)
    with pytest.raises(
        ChecksumError, match=r"a.zip has 13,631,487 bytes instead of 13,631,488 bytes, and was"
    ):
        store.upload(path, "a.zip")
    assert "a.zip" not in place.files()


@pytest.mark.parametrize("sha256", ["a" * 64, "b" * 64])
def test_a_completed_upload_whose_response_was_lost_counts(
    place: BucketPlace, path: Path, sha256: str
) -> None:
    """The object decides, unless it is an earlier one of the same size."""
    store = place.open()
    store.upload(path, "a.zip", "b" * 64)

    def complete_before(params: dict[str, Any], **_: Any) -> None:
        if sha256 == "a" * 64:
            place.client.complete_multipart_upload(**params)
        else:
            names = {name: params[name] for name in ("Bucket", "Key", "UploadId")}
            place.client.abort_multipart_upload(**names)

    events = place.client.meta.events
    with store.stage("a.zip", [path], sha256 if sha256 == "a" * 64 else "c" * 64) as staged:
        events.register_first("provide-client-params.s3.CompleteMultipartUpload", once(complete_before))
        if sha256 == "a" * 64:
            assert staged.commit() == store.head("a.zip")
        else:
            with pytest.raises(DestinationError, match=r"NoSuchUpload .*: run again\."):
                staged.commit()
    assert place.files()["a.zip"] == DATA
    assert place.unfinished() == []


def once(act: Callable[..., None]) -> Callable[..., None]:
    done: list[None] = []

    def first(**arguments: Any) -> None:
        if not done:
            done.append(None)
            act(**arguments)

    return first


@pytest.mark.usefixtures("in_parts")
def test_a_file_that_grows_meanwhile_is_not_published(place: BucketPlace, path: Path) -> None:
    def grow(**_: Any) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    store = place.open()
    place.client.meta.events.register("before-call.s3.UploadPart", grow)
    with pytest.raises(BaseException, match="changed while it was read") as caught:
        store.upload(path, "a.zip")
    assert type(caught.value).__name__ == "ChangedError"
    assert "a.zip" not in place.files()
    assert place.unfinished() == []


def test_a_lock_sweeps_its_own_prefix_and_nothing_else(place: BucketPlace) -> None:
    store = place.open()
    store.write("x", b"")
    keys = ["data/set/a.zip", "data/set/sub/a.zip", "data/set2/a.zip", "a.zip"]
    for key in keys:
        place.client.create_multipart_upload(Bucket=place.bucket, Key=key)
    with pytest.raises(DestinationError), BucketPlace(place.client, place.bucket, "data").open().lock("run"):
        pass  # its files are not ours, and neither are its uploads
    assert len(place.unfinished()) == 4
    with store.lock("run"):
        assert sorted(place.unfinished()) == ["a.zip", "data/set2/a.zip"]


def test_a_run_that_was_suspended_and_overtaken_writes_nothing(
    place: BucketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(bigearthnet.store.s3.lease.lease, "__kwdefaults__", None)
    monkeypatch.setattr(bigearthnet.store.s3.store, "lease", leased_by(lambda: clock[0]))
    first, second = place.open(), place.open()
    with first.lock("first"), first.stage("a.zip", [DATA], "0" * 64) as staged:
        clock[0] += 601
        with second.lock("second"):
            second.write("a.zip", b"of the second")
            for call in (staged.commit, lambda: first.write("card", b""), lambda: first.delete(["a.zip"])):
                with pytest.raises(BusyError, match="run first lost"):
                    call()
    assert {k: v for k, v in place.files().items() if k[0] != "."} == {"a.zip": b"of the second"}


def leased_by(clock: Callable[[], float]) -> Callable[..., Any]:
    return lambda prefix, run: bigearthnet.store.s3.lease.lease(prefix, run, clock=clock, every_seconds=3600)


@pytest.mark.usefixtures("in_parts")
def test_memory_does_not_depend_on_the_size_of_a_file(place: BucketPlace, tmp_path: Path) -> None:
    """At most so many bytes are alive in Python while 80 MiB are sent."""
    with (tmp_path / "large").open("wb") as file:
        os.truncate(file.fileno(), 80 * MIB)
    store = place.open()
    store.write("x", b"")
    tracemalloc.start()
    try:
        store.upload(tmp_path / "large", "large")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * MIB


def test_a_broken_connection_goes_on_where_it_broke(s3_server: S3Server, place: BucketPlace) -> None:
    file = place.open().write("x", DATA)
    with Line(s3_server.port) as line:
        line.breaks.extend([MIB, 3 * MIB, 0])
        store = S3Store(s3_server.client(url=line.url), place.bucket, place.prefix)
        with store.open(file, 5) as reader:
            reader._sleep = lambda _: None
            assert reader.read() == DATA[5:]
    assert line.connections >= 3


class Counter(BaseHTTPRequestHandler):
    """Counts requests, and answers all in the same way."""

    protocol_version = "HTTP/1.1"
    requests = 0
    status = 503

    def do_GET(self) -> None:
        type(self).requests += 1
        self.send_response(self.status)
        size = 10 if self.status == 206 else 0
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Range", "bytes 0-9/10")
        self.send_header("ETag", '"etag"')
        self.end_headers()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def counter() -> Iterator[type[Counter]]:
    class Handler(Counter):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Handler.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        yield Handler
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "requests", "message"),
    [
        (503, 3, r"cannot read s3://bucket/data/x: S3 answered 503 .*3 times\. Try again later\."),
        (
            206,
            10,
            r"cannot read s3://bucket/data/x: nothing new in 10 tries, at last: .*\. Try again later\.",
        ),
    ],
)
def test_each_failure_is_retried_in_one_place(
    counter: type[Counter], status: int, requests: int, message: str
) -> None:
    """A request that is refused by botocore alone (3 times here), a body that breaks off by the reader."""
    counter.status = status
    client = make_client(counter.url, "key", "secret")  # type: ignore[attr-defined]
    reader = S3Store(client, "bucket", "data").open(StoredFile("x", 10, '"etag"'))
    waits: list[float] = []
    reader._sleep = waits.append
    with pytest.raises(TransferError, match=message):
        reader.read(1)
    assert counter.requests == requests
    assert len(waits) == (9 if status == 206 else 0)


def signing(**more: Any) -> S3Store:
    """A store whose client has credentials and asks nobody."""
    keys = {"aws_access_key_id": "anybody", "aws_secret_access_key": "a secret", "region_name": "eu-west-1"}
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    arguments: Any = {"config": config, **keys, **more}
    return S3Store(boto3.client("s3", **arguments), "bucket", "data", SourceError)


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_link_downloads_the_file_under_its_name(place: BucketPlace) -> None:
    store = place.open()
    assert isinstance(store, S3Store)
    store.write("a/x.zip", b"content")
    url = store.presign("a/x.zip", 12, "Graubünden.zip")
    assert query(url)["X-Amz-Expires"] == "720"
    answer = urllib3.request("GET", url)
    assert (answer.status, answer.data) == (200, b"content")
    assert query(url)["response-content-disposition"] == "attachment; filename*=utf-8''Graub%C3%BCnden.zip"
    assert urllib3.request("GET", url.replace("x.zip", "y.zip")).status == 403
    parts = urlsplit(signing().presign("x", 1, ""))
    assert (parts.scheme, parts.netloc, parts.path) == (
        "https",
        "bucket.s3.eu-west-1.amazonaws.com",
        "/data/x",
    )
    assert "response-content-disposition" not in parts.query


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"config": Config(signature_version="s3")},
            "cannot sign a link to s3://bucket/data/x: .* other than 4",
        ),
        ({"aws_access_key_id": None, "aws_secret_access_key": None}, "there are no usable credentials"),
    ],
)
def test_what_cannot_be_signed_is_said(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], message: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(SourceError, match=message):
        signing(**more).presign("x", 1, "")


def test_the_region_is_the_buckets() -> None:
    with moto_place() as place:
        assert place.open().region() == "us-east-1"
        client = boto3.client("s3", region_name="eu-central-1")
        client.create_bucket(Bucket="there", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        place.bucket = "there"
        assert place.open().region() == "eu-central-1"

        def refuse(**_: Any) -> Any:
            headers = {"x-amz-bucket-region": "eu-west-3"}
            error = {
                "Error": {"Code": "403"},
                "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": headers},
            }
            return type("Raw", (), {"status_code": 403}), error

        place.client.meta.events.register("before-call.s3.HeadBucket", refuse)
        assert place.open().region() == "eu-west-3"
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:1/s3.amazonaws.com"):
        assert signing(endpoint_url=url).region() is None


def test_refreshable_credentials_say_when_they_end_and_lasting_ones_never() -> None:
    end = datetime.now(UTC) + timedelta(hours=6)
    session = get_session()
    session._credentials = RefreshableCredentials(  # type: ignore[attr-defined]
        "anybody", "a secret", "t0ken", end, refresh_using=dict, method="a role"
    )
    client = boto3.Session(botocore_session=session).client("s3", region_name="eu-west-1")
    assert S3Store(client, "bucket", "").credentials_end() == end
    assert signing().credentials_end() is None
