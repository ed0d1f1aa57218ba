"""Trying a destination out: what a server or a folder lacks is named, and nothing is left behind."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.session import Session

from bigearthnet.errors import StoreError, TransferError
from bigearthnet.store.s3.trial import warn_of_end
from tests.support.places import BucketPlace, FolderPlace, Place, moto_place, new_bucket
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

MIB = 1 << 20
OWN = {".bigearthnet"}
Lack = Callable[["BucketPlace"], None]


@pytest.fixture
def bucket(s3_server: S3Server) -> BucketPlace:
    return new_bucket(s3_server.client())


@pytest.fixture(params=["folder", "moto", "swift"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield FolderPlace(tmp_path)
    elif request.param == "moto":
        with moto_place() as moto:
            yield moto
    else:
        yield request.getfixturevalue("bucket")


def counted(place: BucketPlace) -> list[int]:
    """Bytes of each request that is sent from now on."""
    sizes: list[int] = []

    def count(request: AWSPreparedRequest, **_: Any) -> None:
        sizes.append(int(request.headers.get("Content-Length", 0)))

    place.client.meta.events.register("before-send.s3", count)
    return sizes


@pytest.mark.parametrize("joins", [True, False])
def test_a_good_place_is_as_it_was(place: Place, joins: bool) -> None:
    store = place.open()
    store.write("x", b"of the dataset")
    before = place.files()
    sizes = counted(place) if isinstance(place, BucketPlace) else []
    store.try_out(joins=joins)
    assert place.files() == before
    assert place.unfinished() == []
    assert sum(sizes) < (6 * MIB if joins else MIB // 64)


def refuse(operation: str, code: str, status: int = 400, *, message: str = "No.", header: str = "") -> Lack:
    """A server that answers an operation by an error, or requests of it with a header."""

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        if header and header not in request.headers:
            return None
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        raw = urllib3.HTTPResponse(io.BytesIO(body), preload_content=False)
        return AWSResponse(request.url, status, HeadersDict(), raw)

    return lambda place: place.client.meta.events.register(f"before-send.s3.{operation}", answer)


def drop(operation: str, name: str) -> Lack:
    """A server that takes no notice of a parameter."""

    def change(params: dict[str, Any], **_: Any) -> None:
        params.pop(name, None)

    return lambda place: place.client.meta.events.register(f"provide-client-params.s3.{operation}", change)


def want_equal_parts(place: BucketPlace) -> None:
    """A server that joins parts only if all but the last have the same length, such as R2."""
    sizes: dict[int, int] = {}

    def note_copy(params: dict[str, Any], **_: Any) -> None:
        first, last = map(int, re.findall(r"\d+", params["CopySourceRange"]))
        sizes[params["PartNumber"]] = last + 1 - first

    def check(params: dict[str, Any], **_: Any) -> None:
        numbers = [part["PartNumber"] for part in params["MultipartUpload"]["Parts"]]
        if len({sizes[number] for number in numbers[:-1]}) > 1:
            refuse("CompleteMultipartUpload", "InvalidPart", message="All non-trailing parts …")(place)

    events = place.client.meta.events
    events.register("provide-client-params.s3.UploadPartCopy", note_copy)
    events.register("provide-client-params.s3.CompleteMultipartUpload", check)


LACKS: dict[str, tuple[Lack, str]] = {
    "no part copies": (
        refuse("UploadPartCopy", "NotImplemented", 501),
        r"needs copies of a range of an object to a part \(UploadPartCopy\): .* answered NotImplemented",
    ),
    "whole copies": (drop("UploadPartCopy", "CopySourceRange"), "needs parts of different lengths"),
    "equal parts": (want_equal_parts, r"needs parts of different lengths .*InvalidPart \(All non-trailing"),
    "no condition": (
        refuse("PutObject", "NotImplemented", 501, header="If-None-Match"),
        r"needs writes that are refused where .*\(If-None-Match\): .* answered NotImplemented",
    ),
    "condition ignored": (
        drop("PutObject", "IfNoneMatch"),
        r"\(If-None-Match\): the server wrote in spite of the condition, so that two runs could lock",
    ),
    "no metadata": (drop("PutObject", "Metadata"), "needs objects that keep their metadata: .* not as it"),
    "no metadata of uploads": (drop("CreateMultipartUpload", "Metadata"), "parts of .* the metadata that"),
    "no uploads": (refuse("CreateMultipartUpload", "NotImplemented", 501), "needs multipart uploads"),
    "no list of parts": (refuse("ListParts", "AccessDenied", 403), r"s3:ListMultipartUploadParts"),
    "no abort": (refuse("AbortMultipartUpload", "AccessDenied", 403), r"s3:AbortMultipartUpload"),
    "no removal": (refuse("DeleteObjects", "AccessDenied", 403), r"s3:DeleteObject there"),
}


@pytest.mark.parametrize("lack", LACKS)
def test_what_a_server_cannot_do_is_named_and_nothing_stays(bucket: BucketPlace, lack: str) -> None:
    store = bucket.open()
    store.write("x", b"")
    limit, said = LACKS[lack]
    untouched = BucketPlace(bucket.client, bucket.bucket)
    limit(bucket)
    with pytest.raises(StoreError, match=rf"s3://{bucket.bucket}.*{said}"):
        store.try_out(joins=True)
    if lack not in ("no abort", "no removal"):
        assert untouched.files().keys() == {*OWN, "x"}
        assert untouched.unfinished() == []


def test_a_copy_needs_no_joins(bucket: BucketPlace) -> None:
    refuse("UploadPartCopy", "NotImplemented", 501)(bucket)
    bucket.open().try_out(joins=False)


def test_a_server_that_does_not_answer_lacks_nothing(bucket: BucketPlace) -> None:
    refuse("UploadPartCopy", "SlowDown", 503)(bucket)
    with pytest.raises(TransferError, match="Try again later"):
        bucket.open().try_out(joins=True)
    assert bucket.files().keys() == OWN


def test_a_leftover_of_a_killed_check_is_not_part_of_the_dataset(place: Place) -> None:
    place.put(".bigearthnet", b"")
    place.put(".trial", b"left")
    assert list(place.open().list()) == []
    place.open().try_out(joins=False)
    assert ".trial" not in place.files()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    place.open().write("x", b"")
    (tmp_path / "store" / ".trial").mkdir()
    (tmp_path / "store" / ".trial" / "in the way").touch()
    with pytest.raises(StoreError, match=rf"cannot use {tmp_path}/store: .*Move it away"):
        place.open().try_out(joins=True)
    assert place.unfinished() == []


ROLE = {"access_key": "a", "secret_key": "s", "token": "t", "expiry_time": "2100-01-01T10:30:00Z"}


def of_variables(monkeypatch: pytest.MonkeyPatch, **more: str) -> Credentials | None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "s", **more}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    found: Credentials | None = Session().get_credentials()
    return found


@pytest.mark.parametrize(
    ("variables", "warning"),
    [
        ({}, ""),
        ({"SESSION_TOKEN": "t"}, "when they end. For"),
        (
            {"SESSION_TOKEN": "t", "CREDENTIAL_EXPIRATION": "2100-01-01T10:30:00Z"},
            "end at 2100-01-01 10:30 UTC",
        ),
    ],
)
def test_credentials_that_will_end_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variables: dict[str, str], warning: str
) -> None:
    warn_of_end(of_variables(monkeypatch, **variables))
    assert len(caplog.messages) == bool(warning)
    assert warning in caplog.text


def test_a_role_is_renewed(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_end(RefreshableCredentials.create_from_metadata(ROLE, lambda: ROLE, "iam-role"))
    warn_of_end(None)
    assert caplog.messages == []
