"""What a real S3 server refuses, damages or loses."""

import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict

import bigearthnet.store.s3.store
from bigearthnet.dataset import CARD
from bigearthnet.dataset.replace import replace_dataset
from bigearthnet.errors import (
    BusyError,
    ChangedError,
    ChecksumError,
    StoreError,
    TransferError,
)
from bigearthnet.store import Piece, Range, Store, StoredFile
from bigearthnet.store.s3 import S3Store
from bigearthnet.store.s3.lock import lock_prefix
from tests.support.line import Line
from tests.support.places import BucketPlace, moto_place, new_bucket, put_server_clock_ahead
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

MIB = 1 << 20
DATA = os.urandom(13 * MIB)


@pytest.fixture
def place(s3_server: S3Server) -> BucketPlace:
    return new_bucket(s3_server.client())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.zip").write_bytes(DATA)
    return tmp_path / "a.zip"


def calls(store: Store, path: Path) -> list[tuple[str, Callable[[], object]]]:
    """Calls of every kind, each with the permission that it needs first."""
    return [
        ("GetObject", lambda: store.head("x")),
        ("GetObject", lambda: store.open(StoredFile("x", 1, '"etag"')).read(1)),
        ("ListBucket", lambda: list(store.list())),
        ("PutObject", lambda: store.write("x", b"")),
        ("PutObject", lambda: store.upload(path, "x")),
        ("DeleteObject", lambda: store.delete(["x"])),
        ("GetObject", lambda: store.resume("x", 1, "m")),
    ]


@pytest.mark.parametrize(
    ("key", "secret", "advice"),
    [
        ("test:reader", "reading", "the permission s3:{} "),
        ("test:tester", "wrongsecret", "Check the (access key and the secret key|keys)"),
        ("test:unknown", "testing", "Check the (access key and the secret key|keys)"),
    ],
)
def test_a_refusal_is_said_and_no_secret_shown(
    s3_server: S3Server, place: BucketPlace, tmp_path: Path, *, key: str, secret: str, advice: str
) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    refused = S3Store(s3_server.client(key, secret), place.bucket, place.prefix)
    with pytest.raises(StoreError, match=advice.format("GetObject")):
        refused.write("x", b"")
    refused._prefix._is_ours = True  # what it could not find out
    for permission, call in calls(refused, tmp_path / "a.zip"):
        message = rf"s3://{place.bucket}/data/set.*{advice.format(permission)}"
        with pytest.raises(StoreError, match=message) as caught:
            call()
        assert secret not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_missing_bucket_is_named(s3_server: S3Server, path: Path) -> None:
    missing = S3Store(s3_server.client(), "no-such-bucket", "data")
    for call in [call for _, call in calls(missing, path)] + [missing.lock("run").__enter__]:
        with pytest.raises(StoreError, match=r"s3://no-such-bucket/data.*\. Create the bucket, or correct"):
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


@pytest.mark.parametrize(("setting", "algorithm"), [("when_supported", "CRC32"), ("when_required", None)])
def test_checksums_go_along_as_the_settings_ask(setting: Any, algorithm: str | None, path: Path) -> None:
    """Some servers refuse checksums. AWS wants their algorithm named before, and those of parts repeated."""
    told = {"ChecksumCRC32": "of the server"} if algorithm else {}
    asked: dict[str, dict[str, Any]] = {}
    with moto_place() as place:
        place.client.meta.config.request_checksum_calculation = setting  # type: ignore[attr-defined]

        def note(params: dict[str, Any], model: Any, **_: Any) -> None:
            asked[model.name] = params

        place.client.meta.events.register("provide-client-params.s3", note)
        place.client.meta.events.register("after-call.s3.UploadPart", lambda parsed, **_: parsed.update(told))
        store = place.open()
        with store.stage("y", [path, path], "0" * 64) as staged:
            staged.commit()
        assert place.files()["y"] == DATA * 2
    assert asked["CreateMultipartUpload"].get("ChecksumAlgorithm") == algorithm
    parts = asked["CompleteMultipartUpload"]["MultipartUpload"]["Parts"]
    assert [part.get("ChecksumCRC32") for part in parts] == [told.get("ChecksumCRC32")] * 4


def test_an_object_that_arrives_as_another_is_removed(place: BucketPlace, path: Path) -> None:
    def tamper(parsed: Any, **_: Any) -> None:
        if "ContentLength" in parsed:
            parsed["ContentLength"] -= 1

    store = place.open()
    store.write("other", b"")
    place.client.meta.events.register("after-call.s3.HeadObject", tamper)
    with pytest.raises(ChecksumError, match=r"has not the 13,631,488 bytes .* was removed"):
        store.upload(path, "a.zip")
    assert "a.zip" not in place.files()
    assert place.unfinished() == []


def test_a_local_file_that_becomes_shorter_is_not_published(place: BucketPlace, path: Path) -> None:
    store = place.open()
    store.write("other", b"")
    os.truncate(path, 20 * MIB)
    place.client.meta.events.register("before-call.s3.UploadPart", lambda **_: os.truncate(path, 9 * MIB))
    with pytest.raises(ChangedError, match=r"a\.zip became shorter or longer while it was read\. Run again"):
        store.upload(path, "a.zip")
    assert "a.zip" not in place.files()
    assert place.unfinished() == []


def test_a_file_whose_creation_was_answered_by_nothing_is_ours(place: BucketPlace) -> None:
    """The second try is refused, as the first one has succeeded."""

    def act_before(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].endswith("/x"):
            place.client.meta.events.unregister("provide-client-params.s3.PutObject", act_before)
            place.client.put_object(**params)

    store = place.open()
    place.client.meta.events.register_first("provide-client-params.s3.PutObject", act_before)
    assert store.write("x", b"first", create=True) == store.head("x")


def test_all_bytes_of_a_staged_file_are_on_the_server_before_its_commit(
    place: BucketPlace, path: Path
) -> None:
    with place.open().stage("a.zip", [path], "0" * 64):
        (upload,) = place.client.list_multipart_uploads(Bucket=place.bucket)["Uploads"]
        sent = place.client.list_parts(Bucket=place.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        assert sum(part["Size"] for part in sent["Parts"]) == len(DATA)


@pytest.mark.parametrize("arrived", [True, False])
def test_the_object_decides_when_the_response_to_its_completion_was_lost(
    place: BucketPlace, path: Path, arrived: bool
) -> None:
    """The second try is answered by NoSuchUpload; an earlier object of the same size is none of ours."""
    store, done = place.open(), []
    with store.stage("a.zip", [path], "a" * 64) as staged:
        staged.commit()

    def act_before(params: dict[str, Any], **_: Any) -> None:
        done.append(1)
        if len(done) == 1 and arrived:
            place.client.complete_multipart_upload(**params)
        elif len(done) == 1:
            place.client.abort_multipart_upload(**{n: params[n] for n in ("Bucket", "Key", "UploadId")})

    place.client.meta.events.register_first("provide-client-params.s3.CompleteMultipartUpload", act_before)
    with store.stage("a.zip", [path], "b" * 64) as staged:
        if arrived:
            assert staged.commit() == store.head("a.zip")
        else:
            with pytest.raises(StoreError, match=r"NoSuchUpload .*: run again\."):
                staged.commit()
    assert store.digest(store.head("a.zip")) == ("b" if arrived else "a") * 64
    assert place.unfinished() == []


def test_a_lock_sweeps_its_own_prefix_and_nothing_else(place: BucketPlace) -> None:
    whole_bucket, store = BucketPlace(place.client, place.bucket, "").open(), place.open()
    for one in (whole_bucket, store):
        one.write("x", b"")
    others = ["a.zip", "data/set2/a.zip", "data/set/archives/a.zip"]
    for key in ("data/set/a.zip", "data/set/.tiles/key/members", *others):
        place.client.create_multipart_upload(Bucket=place.bucket, Key=key)
    with pytest.raises(StoreError), BucketPlace(place.client, place.bucket, "data").open().lock("run"):
        pass  # its files are not ours, and neither are its uploads
    assert len(place.unfinished()) == 5
    with store.lock("run"):
        assert sorted(place.unfinished()) == ["a.zip", "archives/a.zip", "data/set2/a.zip"]
    with whole_bucket.lock("run"):
        assert sorted(place.unfinished()) == ["archives/a.zip", "data/set2/a.zip"]


@pytest.mark.parametrize(
    ("sizes", "sent"),
    [
        ([5, 13], 0),
        ([1, 10], 5),  # the first five together, as a part has no less
        ([1, 8], 9),
        ([2, 2, 2, 5], 6),
        ([2, 2, 12, 1, 1], 7),
        ([17 * MIB, 9], 21),
        ([3 * MIB, 9], 5),
        ([7, 3 * MIB], 3),
    ],
)
def test_no_byte_is_sent_that_the_server_can_copy(
    place: BucketPlace, path: Path, sizes: list[int], sent: int
) -> None:
    """Sizes are of ranges in MiB, and of local files in bytes."""
    store, wanted = place.open(), b""
    stored = store.write("x", DATA)
    pieces: list[Piece] = []
    bodies: list[int] = []
    place.client.meta.events.register(
        "provide-client-params.s3.UploadPart", lambda params, **_: bodies.append(len(params["Body"]))
    )
    for size in sizes:
        if size < MIB:
            pieces.append(Range(stored, 0, size * MIB))
            wanted += DATA[: size * MIB]
        else:
            path.write_bytes(bytes(size))
            pieces.append(path)
            wanted += bytes(size)
    with store.stage("y", pieces, "0" * 64) as staged:
        staged.commit()
    assert place.files()["y"] == wanted
    assert sum(bodies) == sent * MIB


def test_a_range_that_changed_is_not_copied(place: BucketPlace) -> None:
    store = place.open()
    file = store.write("x", DATA)
    place.put("x", DATA[::-1])
    with pytest.raises(ChangedError), store.stage("y", [Range(file, 0, file.size)], "0" * 64):
        pass
    assert place.unfinished() == []


def test_the_folders_of_the_console_are_no_files(place: BucketPlace) -> None:
    place.put("", b"")
    store = place.open()
    store.write("sub/x", b"")
    place.put("sub/", b"")
    assert [file.name for file in store.list()] == ["sub/x"]


def test_a_run_that_was_suspended_and_overtaken_writes_nothing(
    place: BucketPlace, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000_000.0]
    locked = partial(lock_prefix, clock=lambda: clock[0], every_seconds=3600)
    monkeypatch.setattr(bigearthnet.store.s3.store, "lock_prefix", locked)
    first, second = place.open(), place.open()
    with first.lock("first"), first.stage("a.zip", [path], "0" * 64) as staged:
        clock[0] += 601
        put_server_clock_ahead(place, 601)
        with second.lock("second"):
            second.write("a.zip", b"of the second")
            for call in (staged.commit, lambda: first.write("card", b""), lambda: first.delete(["a.zip"])):
                with pytest.raises(BusyError, match=r"run first .* lost"):
                    call()
    assert {k: v for k, v in place.files().items() if k[0] != "."} == {"a.zip": b"of the second"}


def test_a_run_that_is_overtaken_in_its_last_request_leaves_the_card_of_the_other(place: BucketPlace) -> None:
    first, second = place.open(), place.open()
    first.write("x", b"")

    def overtake(params: dict[str, Any], **_: Any) -> None:
        place.client.meta.events.unregister("provide-client-params.s3.PutObject", overtake)
        second.write(CARD, b"of the second")

    place.client.meta.events.register_first("provide-client-params.s3.PutObject", overtake)
    with pytest.raises(ChangedError, match=r"replaced or removed meanwhile: .* Run again"):
        replace_dataset(first, [], (), b"of the first", None)
    assert place.files()[CARD] == b"of the second"


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


def test_a_request_that_is_refused_is_tried_again_by_botocore_alone(place: BucketPlace) -> None:
    """Three times here; a body that breaks off is read on by the reader."""
    requests: list[str] = []
    slept: list[float] = []

    def refuse(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        requests.append(request.url)
        return AWSResponse(request.url, 503, HeadersDict(), urllib3.HTTPResponse(BytesIO()))

    place.client.meta.events.register("before-send.s3.GetObject", refuse)
    reader = place.open().open(StoredFile("x", 10, '"etag"'))
    reader._sleep = slept.append
    with pytest.raises(TransferError, match=r"cannot read s3://.*/x: .* 3 times\. Try again later\."):
        reader.read(1)
    assert (len(requests), slept) == (3, [])
