"""Mirrors made on a real server: over lines that break, by processes that are killed, of changing sources."""

import hashlib
import json
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bigearthnet.source.old.http import Http, Patience
from bigearthnet.source.old.opening import Remote
from bigearthnet.source.old.record import Record, RecordFile, read_folder
from bigearthnet.source.old.zenodo import fetch_record
from bigearthnet.store.s3 import mirror as bucket_mirror
from bigearthnet.store.s3.lock import hold
from bigearthnet.store.s3.mirror import Mirror, md5_of, open_mirror
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.source import read_bucket

from bigearthnet.errors import BusyError, ChecksumError, DestinationError, SourceError, TransferError
from tests.support.line import Line
from tests.support.record_server import Fault, RecordServer
from tests.support.remotes import over_http
from tests.support.s3_server import S3Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
pytest_plugins = ("tests.support.s3_fixtures",)

MIB = 1 << 20
PART = 5 * MIB  # the least that the server takes
IMAGES, MAPS, METADATA = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst", "metadata.parquet"
CONTENT = random.Random(1).randbytes(13 * MIB + 7)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()  # noqa: S324


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_mirror, "PART_BYTES", PART)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "record"
    folder.mkdir()
    for name, content in ((IMAGES, CONTENT), (MAPS, b"maps"), (METADATA, b"metadata")):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[RecordServer]:
    with RecordServer(folder) as server:
        yield server


@pytest.fixture
def http() -> Http:
    return Http(Patience(connect_seconds=5, stall_seconds=0.3, tries=2), sleep=lambda _: None)


@pytest.fixture
def remote(http: Http) -> Remote:
    return over_http(http)


@pytest.fixture
def record(http: Http, server: RecordServer) -> Record:
    found = fetch_record(http, server.record_url)
    server.requests.clear()
    return found


def made(bucket: Bucket, record: Record, remote: Remote, check: Callable[[], None] = lambda: None) -> Mirror:
    """Mirror the record as the flow does."""
    mirror = open_mirror(bucket, check)
    for file in record.files:
        mirror.put(file, md5_of(file, lambda _: None), remote, lambda _: lambda _: None)
    mirror.finish(record)
    return mirror


def names(bucket: Bucket) -> list[str]:
    return [found.name for found in bucket.listing()]


def content(bucket: Bucket, name: str) -> bytes:
    """Read without this project."""
    return bucket.client.get_object(Bucket=bucket.place.bucket, Key=bucket.place.key(name))["Body"].read()


def uploads(bucket: Bucket) -> list[str]:
    answer = bucket.client.list_multipart_uploads(Bucket=bucket.place.bucket)
    return [upload["UploadId"] for upload in answer.get("Uploads", [])]


def parts(bucket: Bucket, name: str = IMAGES) -> list[int]:
    """Sizes of the parts of the only unfinished upload."""
    (upload,) = uploads(bucket)
    answer = bucket.client.list_parts(Bucket=bucket.place.bucket, Key=bucket.place.key(name), UploadId=upload)
    return [part["Size"] for part in answer.get("Parts", [])]


def watch(bucket: Bucket, operation: str, told: Callable[[dict[str, object]], None]) -> None:
    bucket.client.meta.events.register(
        f"provide-client-params.s3.{operation}", lambda params, **_: told(params)
    )


def require_whole(bucket: Bucket, folder: Path) -> None:
    """Every file byte for byte, and nothing else but the record."""
    files = sorted(path.name for path in folder.iterdir())
    assert names(bucket) == sorted([*files, "record.json"])
    for name in files:
        assert content(bucket, name) == (folder / name).read_bytes()
    assert uploads(bucket) == []


@pytest.fixture
def broken_off(server: RecordServer, record: Record, bucket: Bucket, remote: Remote) -> None:
    """A mirror whose source broke off in the third of three parts."""
    server.faults[IMAGES] = [Fault(break_after=12 * MIB), *[Fault(status=503)] * 2]
    with pytest.raises(TransferError, match=rf"expected byte {12 * MIB} of {IMAGES}"):
        made(bucket, record, remote)
    server.faults.clear()
    server.requests.clear()


def test_a_mirror_is_the_record(
    bucket: Bucket, record: Record, remote: Remote, folder: Path, server: RecordServer
) -> None:
    assert made(bucket, record, remote).sent == sum(file.size for file in record.files)
    require_whole(bucket, folder)
    for file in record.files:
        head = bucket.client.head_object(Bucket=bucket.place.bucket, Key=bucket.place.key(file.name))
        assert head["Metadata"]["source-md5"] == md5((folder / file.name).read_bytes())
        assert len(server.requests_for(file.name)) == 1
    places = {file.name: f"{bucket.place}/{file.name}" for file in record.files}
    files = tuple(replace(file, location=places[file.name]) for file in record.files)
    assert read_bucket(bucket) == replace(record, files=files)


def test_a_mirror_that_is_there_is_left_alone(
    bucket: Bucket, record: Record, remote: Remote, server: RecordServer
) -> None:
    made(bucket, record, remote)
    server.requests.clear()
    changes: list[object] = []
    for operation in ("PutObject", "CreateMultipartUpload", "GetObject"):
        watch(bucket, operation, changes.append)
    assert made(bucket, record, remote).sent == 0
    assert server.requests == []
    read = {params["Key"] for params in changes if isinstance(params, dict)}
    assert read == {bucket.place.key("record.json")} | {
        bucket.place.key(f".mirror/{file.name}.json") for file in record.files
    }


@pytest.mark.usefixtures("broken_off")
def test_a_broken_source_is_gone_on_with_at_the_next_part(
    bucket: Bucket, record: Record, remote: Remote, folder: Path, server: RecordServer
) -> None:
    assert parts(bucket) == [PART, PART]
    assert IMAGES not in names(bucket)
    sent: list[object] = []
    watch(bucket, "UploadPart", lambda params: sent.append((params["Key"], params["PartNumber"])))
    assert made(bucket, record, remote).sent == len(CONTENT) - 2 * PART + len(b"mapsmetadata")
    (request,) = server.requests_for(IMAGES)
    assert request.headers["Range"] == f"bytes={2 * PART}-"
    assert request.headers["If-Range"] == f'"md5:{md5(CONTENT)}"'
    assert request.sent == len(CONTENT) - 2 * PART
    assert [number for key, number in sent if str(key).endswith(IMAGES)] == [3]  # type: ignore[misc]
    require_whole(bucket, folder)


def test_a_line_to_the_bucket_that_breaks_is_gone_on_with(
    s3_server: S3Server, bucket: Bucket, record: Record, *, remote: Remote, folder: Path, server: RecordServer
) -> None:
    with Line(s3_server.port) as line:
        weak = Bucket(s3_server.client(url=line.url), bucket.place)

        def break_at_the_second(params: dict[str, object]) -> None:
            if params["PartNumber"] == 2:
                line.break_all()

        watch(weak, "UploadPart", break_at_the_second)
        with pytest.raises(TransferError, match=f"expected to write part 2 of {bucket.place}/{IMAGES}"):
            made(weak, record, remote)
    there = parts(bucket)
    assert there in ([PART], [PART, PART])  # the request or only its answer was lost
    server.requests.clear()
    made(bucket, record, remote)
    assert server.bytes_sent(IMAGES) == len(CONTENT) - sum(there)
    require_whole(bucket, folder)


KILLED = textwrap.dedent(
    """
    import sys
    from bigearthnet.store.s3 import mirror as bucket_mirror
    from bigearthnet.store.s3.objects import Bucket
    from bigearthnet.store.s3.lock import hold
    from bigearthnet.store.s3.mirror import open_mirror
    from bigearthnet.store.s3.place import parse_place
    from bigearthnet.source.old.http import Http
    from bigearthnet.source.old.zenodo import fetch_record
    from tests.support.remotes import over_http
    from tests.support.s3_server import make_client

    url, access_key, secret_key, place, part_bytes, source = sys.argv[1:]
    bucket_mirror.PART_BYTES = int(part_bytes)
    bucket = Bucket(make_client(url, access_key, secret_key), parse_place(place))
    with hold(bucket, "the-first") as lease:
        mirror = open_mirror(bucket, lease.check)
        for file in fetch_record(Http(), source).files:
            told = lambda count: print(count, flush=True)
            mirror.put(file, file.md5, over_http(Http()), lambda _: told)
    """
)


def test_a_killed_mirror_is_gone_on_with(
    s3_server: S3Server, bucket: Bucket, record: Record, *, remote: Remote, folder: Path, server: RecordServer
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=12 * MIB)]
    arguments = [
        *(s3_server.url, s3_server.access_key, s3_server.secret_key),
        *(str(bucket.place), str(PART), server.record_url),
    ]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stdout
        came = 0
        while came < 2 * PART:
            came += int(child.stdout.readline())
        child.kill()
    assert parts(bucket) == [PART, PART]
    assert record.files[0].name == IMAGES
    server.requests.clear()
    with hold(bucket, "the-second") as lease:  # its lock is stale, as its process has ended
        lease.check()
        assert made(bucket, record, remote).sent == len(CONTENT) - 2 * PART + len(b"mapsmetadata")
    assert server.bytes_sent(IMAGES) == len(CONTENT) - 2 * PART
    require_whole(bucket, folder)


@pytest.mark.usefixtures("broken_off")
def test_a_source_that_changed_under_its_md5_is_not_mixed(
    bucket: Bucket, record: Record, remote: Remote, server: RecordServer
) -> None:
    server.faults[IMAGES] = [Fault(etag='"md5:new"')]
    with pytest.raises(ChecksumError, match=rf'{IMAGES} changed .* found "md5:new" at byte {2 * PART}'):
        made(bucket, record, remote)
    assert uploads(bucket) == []
    assert names(bucket) == []


@pytest.mark.usefixtures("broken_off")
def test_what_was_begun_of_another_edition_is_given_up(
    bucket: Bucket, http: Http, remote: Remote, folder: Path, server: RecordServer
) -> None:
    (folder / IMAGES).write_bytes(CONTENT[::-1])
    (before,) = uploads(bucket)
    begun: list[list[str]] = []
    watch(bucket, "UploadPart", lambda _: begun.append(uploads(bucket)))
    made(bucket, fetch_record(http, server.record_url), remote)
    assert before not in begun[0]
    require_whole(bucket, folder)


@pytest.mark.usefixtures("broken_off")
@pytest.mark.parametrize("text", [None, b"", b"{}"])
def test_an_upload_that_no_note_tells_of_is_given_up(
    bucket: Bucket, record: Record, remote: Remote, *, folder: Path, server: RecordServer, text: bytes | None
) -> None:
    note = f".mirror/{IMAGES}.json"
    assert json.loads(content(bucket, note))["md5"] == md5(CONTENT)
    if text is None:
        bucket.delete([note])
    else:
        bucket.write(note, text)
    made(bucket, record, remote)
    assert server.bytes_sent(IMAGES) == len(CONTENT)
    require_whole(bucket, folder)


@pytest.mark.usefixtures("broken_off")
def test_an_upload_that_the_bucket_has_given_up_is_begun_anew(
    bucket: Bucket, record: Record, remote: Remote, folder: Path
) -> None:
    (upload,) = uploads(bucket)
    bucket.client.abort_multipart_upload(
        Bucket=bucket.place.bucket, Key=bucket.place.key(IMAGES), UploadId=upload
    )
    made(bucket, record, remote)
    require_whole(bucket, folder)


def test_uploads_of_others_are_left_alone(bucket: Bucket, record: Record, remote: Remote) -> None:
    others = [
        bucket.client.create_multipart_upload(Bucket=bucket.place.bucket, Key=bucket.place.key(name))[
            "UploadId"
        ]
        for name in (f"{IMAGES}.copy", "another")
    ]
    made(bucket, record, remote)
    assert sorted(uploads(bucket)) == sorted(others)


def test_a_wrong_md5_found_in_passing_leaves_what_was_there(
    bucket: Bucket, record: Record, remote: Remote, server: RecordServer
) -> None:
    bucket.write(IMAGES, b"what was there")
    server.faults[IMAGES] = [Fault(flip=6 * MIB)]
    wrong = bytearray(CONTENT)
    wrong[6 * MIB] ^= 0xFF
    message = rf"expected {IMAGES} with md5 {md5(CONTENT)}, found {md5(wrong)} .* is aborted"
    with pytest.raises(ChecksumError, match=message):
        made(bucket, record, remote)
    assert names(bucket) == [IMAGES]
    assert content(bucket, IMAGES) == b"what was there"
    assert uploads(bucket) == []


def test_a_wrong_md5_of_what_two_runs_sent_is_found_on_reading_back(
    bucket: Bucket, record: Record, remote: Remote, server: RecordServer, folder: Path
) -> None:
    server.faults[IMAGES] = [Fault(flip=6 * MIB, break_after=12 * MIB), *[Fault(status=503)] * 2]
    with pytest.raises(TransferError, match=IMAGES):
        made(bucket, record, remote)
    wrong = bytearray(CONTENT)
    wrong[6 * MIB] ^= 0xFF
    message = rf"{bucket.place}/{IMAGES} with md5 {md5(CONTENT)}, found {md5(wrong)} .* is removed, run again"
    with pytest.raises(ChecksumError, match=message):
        made(bucket, record, remote)
    assert names(bucket) == []
    made(bucket, record, remote)
    require_whole(bucket, folder)


def test_an_object_of_unknown_making_is_read_back(
    bucket: Bucket, record: Record, remote: Remote, server: RecordServer, folder: Path
) -> None:
    """As a run leaves it that is killed between the end of the upload and the note."""
    bucket.write(IMAGES, CONTENT, {"source-md5": md5(CONTENT)})
    bucket.write(MAPS, b"MAPS", {"source-md5": md5(b"maps")})
    with pytest.raises(ChecksumError, match=f"{MAPS} with md5 {md5(b'maps')}, found {md5(b'MAPS')}"):
        made(bucket, record, remote)
    made(bucket, record, remote)
    assert server.bytes_sent(IMAGES) == 0
    require_whole(bucket, folder)


def test_what_one_run_saw_to_be_right_the_next_does_not_read_back(
    bucket: Bucket, record: Record, remote: Remote, server: RecordServer
) -> None:
    server.faults[MAPS] = [Fault(status=404)]
    with pytest.raises(SourceError, match=MAPS):
        made(bucket, record, remote)
    read: list[object] = []
    watch(bucket, "GetObject", lambda params: read.append(params["Key"]))
    made(bucket, record, remote)
    assert bucket.place.key(IMAGES) not in read
    assert len(server.requests_for(IMAGES)) == 1


def test_while_a_mirror_changes_it_is_none(
    bucket: Bucket, record: Record, http: Http, *, remote: Remote, folder: Path, server: RecordServer
) -> None:
    made(bucket, record, remote)
    (folder / MAPS).write_bytes(b"other maps")
    server.requests.clear()
    server.faults[METADATA] = [Fault(status=404)]
    (folder / METADATA).write_bytes(b"other metadata")
    later = fetch_record(http, server.record_url)
    with pytest.raises(SourceError, match=METADATA):
        made(bucket, later, remote)
    assert content(bucket, MAPS) == b"other maps"
    with pytest.raises(
        DestinationError, match=rf"a whole mirror in {bucket.place}, found one .*not finished"
    ):
        read_bucket(bucket)
    read: list[object] = []
    watch(bucket, "GetObject", lambda params: read.append(params["Key"]))
    made(bucket, later, remote)
    assert server.requests_for(IMAGES) == []
    assert bucket.place.key(IMAGES) not in read  # the record that went had vouched for it
    require_whole(bucket, folder)


def test_a_folder_is_mirrored_as_the_folder_that_it_is(
    bucket: Bucket, folder: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_folder(folder)
    made(bucket, record, remote)
    require_whole(bucket, folder)
    found = read_bucket(bucket)
    assert [(f.name, f.size, f.md5) for f in found.files] == [(f.name, f.size, None) for f in record.files]
    assert found.kind == "folder"
    assert made(bucket, record, remote).sent == 0
    (folder / IMAGES).write_bytes(CONTENT[::-1])
    assert made(bucket, read_folder(folder), remote).sent == len(CONTENT)
    require_whole(bucket, folder)


def test_a_file_that_changes_between_two_runs_is_not_mixed(
    bucket: Bucket, folder: Path, remote: Remote
) -> None:
    """Same size and, as the person says, same md5."""
    record = read_folder(folder)
    images = record.require(IMAGES)
    mirror = open_mirror(bucket, fails_at(3))
    with pytest.raises(BusyError, match="lost"):
        mirror.put(images, md5(CONTENT), remote, lambda _: lambda _: None)
    os.utime(folder / IMAGES, ns=(1, 1))
    with pytest.raises(ChecksumError, match=rf"{IMAGES} changed while it was read"):
        open_mirror(bucket, lambda: None).put(images, md5(CONTENT), remote, lambda _: lambda _: None)
    assert uploads(bucket) == []


def fails_at(number: int) -> Callable[[], None]:
    calls = iter(range(1, 10**6))

    def check() -> None:
        if next(calls) == number:
            raise BusyError("lost")

    return check


@pytest.mark.parametrize("number", [1, 3, 5, 6, 12])
def test_who_has_lost_the_place_changes_nothing_from_then_on(
    bucket: Bucket, record: Record, remote: Remote, folder: Path, number: int
) -> None:
    """A run that stops at any of its looks at the lease leaves what the next one can go on with."""
    changes: list[object] = []
    for operation in ("UploadPart", "CompleteMultipartUpload", "PutObject", "DeleteObjects"):
        watch(bucket, operation, changes.append)

    def check() -> None:
        try:
            failing()
        except BusyError:
            changes.clear()
            raise

    failing = fails_at(number)
    with pytest.raises(BusyError, match="lost"):
        made(bucket, record, remote, check)
    assert changes == []
    made(bucket, record, remote)
    require_whole(bucket, folder)


def test_the_lease_is_looked_at_before_each_commit(
    bucket: Bucket, record: Record, remote: Remote, *, folder: Path, http: Http, server: RecordServer
) -> None:
    made(bucket, record, remote)
    (folder / MAPS).write_bytes(b"other maps")
    done: list[str] = []

    def note(operation: str) -> Callable[[dict[str, object]], None]:
        return lambda params: None if ".mirror/" in str(params) else done.append(operation)

    commits = ["DeleteObjects", "UploadPart", "CompleteMultipartUpload", "PutObject"]
    for operation in commits:
        watch(bucket, operation, note(operation))
    made(bucket, fetch_record(http, server.record_url), remote, lambda: done.append("check"))
    assert [step for step in done if step != "check"] == commits
    assert [done[done.index(commit) - 1] for commit in commits] == ["check"] * 4


def test_a_record_json_of_something_else_is_not_overwritten(
    bucket: Bucket, record: Record, remote: Remote
) -> None:
    bucket.write("record.json", b'{"id": 7}')
    with pytest.raises(
        DestinationError, match=rf"record of a mirror in {bucket.place}/record.json, found at"
    ):
        made(bucket, record, remote)
    assert content(bucket, "record.json") == b'{"id": 7}'


def test_an_empty_file_is_mirrored(bucket: Bucket, folder: Path, remote: Remote) -> None:
    (folder / METADATA).write_bytes(b"")
    made(bucket, read_folder(folder), remote)
    require_whole(bucket, folder)


def test_an_object_without_md5_cannot_be_mirrored() -> None:
    with pytest.raises(
        SourceError, match=rf"expected the md5 of {MAPS} in the record, found none for s3://a/b"
    ):
        md5_of(RecordFile(MAPS, 1, None, f"s3://a/b/{MAPS}"), lambda _: None)
