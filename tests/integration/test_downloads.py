"""Files brought to the disk, from a real server that does everything wrong a server can do."""

import errno
import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bigearthnet.source.old.download import BLOCK_BYTES, download
from bigearthnet.source.old.http import Http
from bigearthnet.source.old.record import RecordFile
from bigearthnet.source.old.zenodo import fetch_record

from bigearthnet.errors import ChecksumError, TransferError
from tests.support.record_server import Fault, RecordServer
from tests.support.remotes import over_http
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, SIZE, told

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer
pytest_plugins = ("tests.support.transfer_fixtures",)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder / "images"


@pytest.fixture
def part(target: Path) -> Path:
    return target.with_name("images.part")


@pytest.fixture
def note(target: Path) -> Path:
    return target.with_name("images.part.json")


@pytest.fixture
def broken_off(server: RecordServer, http: Http, file: RecordFile, target: Path, part: Path) -> None:
    """A download that stopped after 700,000 bytes."""
    server.faults[IMAGES] = [Fault(break_after=700_000), *[Fault(status=503, retry_after="0")] * 6]
    with pytest.raises(TransferError, match=r"byte 700000 of .*what has arrived is kept"):
        download(over_http(http), file, target, on_bytes=lambda _: None)
    assert part.read_bytes() == CONTENT[:700_000]
    server.requests.clear()


def test_a_file_is_downloaded(http: Http, file: RecordFile, target: Path) -> None:
    told: list[int] = []
    assert download(over_http(http), file, target, on_bytes=told.append) == MD5
    assert target.read_bytes() == CONTENT
    assert sum(told) == SIZE
    assert left(target.parent) == ["images"]


def test_an_empty_file_is_downloaded(server: RecordServer, http: Http, target: Path) -> None:
    (server.folder / MAPS).write_bytes(b"")
    file = fetch_record(http, server.record_url).require(MAPS)
    download(over_http(http), file, target, on_bytes=lambda _: None)
    assert target.read_bytes() == b""


def test_what_is_in_place_stays_until_all_has_come(http: Http, file: RecordFile, target: Path) -> None:
    def look(_: int) -> None:
        assert left(target.parent) == ["images", "images.part", "images.part.json"]
        assert target.read_bytes() == b"an older file"

    target.write_bytes(b"an older file")
    download(over_http(http), file, target, on_bytes=look)
    assert target.read_bytes() == CONTENT
    assert left(target.parent) == ["images"]


@pytest.mark.usefixtures("broken_off")
def test_a_download_goes_on_where_it_stopped(
    server: RecordServer, http: Http, file: RecordFile, target: Path
) -> None:
    counts: list[int] = []
    assert download(over_http(http), file, target, on_bytes=counts.append) == MD5
    assert target.read_bytes() == CONTENT
    assert told(server, "Range") == ["bytes=700000-"]
    assert told(server, "If-Range") == [f'"md5:{MD5}"']
    assert server.bytes_sent(IMAGES) == SIZE - 700_000
    assert sum(counts) == SIZE
    assert left(target.parent) == ["images"]


@pytest.mark.usefixtures("broken_off")
@pytest.mark.parametrize("fault", [Fault(ignore_range=True), Fault(etag='"md5:new"')])
def test_a_whole_file_for_the_rest_begins_anew_and_is_not_asked_for_twice(
    server: RecordServer, http: Http, file: RecordFile, target: Path, fault: Fault
) -> None:
    server.faults[IMAGES] = [fault]
    counts: list[int] = []
    assert download(over_http(http), file, target, on_bytes=counts.append) == MD5
    assert target.read_bytes() == CONTENT
    assert [request.status for request in server.requests] == [200]
    assert sum(counts) == SIZE
    assert -700_000 in counts


@pytest.mark.usefixtures("broken_off")
def test_after_a_new_beginning_the_new_edition_is_gone_on_with(
    server: RecordServer, http: Http, file: RecordFile, target: Path, part: Path
) -> None:
    new = '"md5:new"'
    server.faults[IMAGES] = [Fault(etag=new, break_after=300_000), *[Fault(drop=True)] * 6]
    with pytest.raises(TransferError, match="byte 300000 of"):
        download(over_http(http), file, target, on_bytes=lambda _: None)
    assert part.read_bytes() == CONTENT[:300_000]
    server.requests.clear()
    server.faults[IMAGES] = [Fault(etag=new)]
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5
    assert target.read_bytes() == CONTENT
    assert (told(server, "If-Range"), told(server, "Range")) == ([new], ["bytes=300000-"])


@pytest.mark.usefixtures("broken_off")
@pytest.mark.parametrize("key", ["size", "md5"])
def test_what_was_begun_of_another_file_is_not_gone_on_with(
    *, server: RecordServer, http: Http, file: RecordFile, target: Path, note: Path, key: str
) -> None:
    about = json.loads(note.read_text())
    about[key] = 5 if key == "size" else "another"
    note.write_text(json.dumps(about))
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5
    assert told(server, "Range") == [None]


@pytest.mark.usefixtures("broken_off")
@pytest.mark.parametrize("text", [None, "", "{}", "null"])
def test_what_was_begun_of_an_unknown_file_is_not_gone_on_with(
    *, server: RecordServer, http: Http, file: RecordFile, target: Path, note: Path, text: str | None
) -> None:
    if text is None:
        note.unlink()
    else:
        note.write_text(text)
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5
    assert target.read_bytes() == CONTENT
    assert told(server, "Range") == [None]


@pytest.mark.usefixtures("broken_off")
def test_too_long_a_beginning_is_not_gone_on_with(
    server: RecordServer, http: Http, file: RecordFile, target: Path, part: Path
) -> None:
    part.write_bytes(CONTENT + b"x")
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5
    assert target.read_bytes() == CONTENT
    assert told(server, "Range") == [None]


@pytest.mark.usefixtures("broken_off")
def test_a_whole_beginning_is_only_checked(
    server: RecordServer, http: Http, file: RecordFile, target: Path, part: Path
) -> None:
    part.write_bytes(CONTENT)
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5
    assert target.read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.usefixtures("broken_off")
def test_a_spoilt_beginning_is_found_out_and_removed(
    http: Http, file: RecordFile, target: Path, part: Path
) -> None:
    part.write_bytes(b"\0" * 700_000)
    with pytest.raises(ChecksumError, match=f"expected {IMAGES} with md5 {MD5}"):
        download(over_http(http), file, target, on_bytes=lambda _: None)
    assert left(target.parent) == []


def test_a_wrong_byte_is_found_out_and_the_next_try_begins_anew(
    server: RecordServer, http: Http, file: RecordFile, target: Path, part: Path
) -> None:
    server.faults[IMAGES] = [Fault(flip=1_000_000)]
    wrong = bytearray(CONTENT)
    wrong[1_000_000] ^= 0xFF
    found = hashlib.md5(wrong).hexdigest()  # noqa: S324
    with pytest.raises(ChecksumError, match=rf"{MD5} .*, found {found}; .*{part.name} has been removed"):
        download(over_http(http), file, target, on_bytes=lambda _: None)
    assert left(target.parent) == []
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5


def test_without_an_md5_the_size_is_what_counts(server: RecordServer, http: Http, target: Path) -> None:
    file = RecordFile(IMAGES, SIZE, None, server.file_url(IMAGES))
    server.faults[IMAGES] = [Fault(flip=5, break_after=SIZE - 1)]
    md5 = download(over_http(http), file, target, on_bytes=lambda _: None)
    assert md5 == hashlib.md5(target.read_bytes()).hexdigest()  # noqa: S324
    assert target.stat().st_size == SIZE
    shorter = RecordFile(IMAGES, SIZE - 1, None, server.file_url(IMAGES))
    with pytest.raises(ChecksumError, match=f"expected {SIZE - 1} bytes"):
        download(over_http(http), shorter, target.with_name("shorter"), on_bytes=lambda _: None)
    assert left(target.parent) == ["images"]


def test_a_file_that_changes_during_the_download_leaves_nothing(
    server: RecordServer, http: Http, file: RecordFile, target: Path
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(etag='"md5:new"')]
    with pytest.raises(ChecksumError, match="changed while it was read"):
        download(over_http(http), file, target, on_bytes=lambda _: None)
    assert left(target.parent) == []


def test_a_full_disk_is_an_error_of_this_side(http: Http, file: RecordFile, target: Path, part: Path) -> None:
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        download(over_http(http), file, target, on_bytes=lambda _: None)
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, TransferError)
    assert not target.exists()


def test_no_folder_to_write_to_is_an_error_of_this_side(http: Http, file: RecordFile, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        download(over_http(http), file, tmp_path / "nowhere" / "images", on_bytes=lambda _: None)


def test_a_cancelled_download_keeps_what_came(
    server: RecordServer, http: Http, file: RecordFile, target: Path, part: Path
) -> None:
    def cancel(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(over_http(http), file, target, on_bytes=cancel)
    came = part.stat().st_size
    assert came > 0
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5
    assert told(server, "Range") == [None, f"bytes={came}-"]


KILLED = """
import sys
from pathlib import Path
from bigearthnet.source.old.http import Http
from bigearthnet.source.old.record import RecordFile
from bigearthnet.source.old.download import download
from tests.support.remotes import over_http
name, size, md5, url, target = sys.argv[1:]
told = lambda count: print(count, flush=True)
download(over_http(Http()), RecordFile(name, int(size), md5, url), Path(target), on_bytes=told)
"""


def test_a_killed_download_goes_on(
    server: RecordServer, http: Http, file: RecordFile, target: Path, part: Path
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=900_000)]
    arguments = [IMAGES, str(SIZE), MD5, file.location, str(target)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        came = 0
        while came + BLOCK_BYTES <= 900_000:
            came += int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    on_disk = part.stat().st_size
    assert on_disk >= came - BLOCK_BYTES
    assert download(over_http(http), file, target, on_bytes=lambda _: None) == MD5
    assert target.read_bytes() == CONTENT
    assert told(server, "Range")[1] == f"bytes={on_disk}-"
    assert server.requests[1].sent == SIZE - on_disk
