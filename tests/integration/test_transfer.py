"""Transfers against a real server that does everything wrong a server can do."""

import errno
import hashlib
import json
import random
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import pytest

from bigearthnet import __version__
from bigearthnet.errors import ChecksumError, SourceError, TransferError
from bigearthnet.http_client import Http, Patience
from bigearthnet.http_reader import HttpReader
from bigearthnet.record import RecordFile
from bigearthnet.transfer import BLOCK_BYTES, download
from bigearthnet.zenodo import fetch_record
from tests.support.record_server import RECORD, Fault, RecordServer
from tests.support.remotes import over_http

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer

IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"
CONTENT = random.Random(1).randbytes(1_500_000)
MD5 = hashlib.md5(CONTENT).hexdigest()  # noqa: S324
SIZE = len(CONTENT)
NOW = 1_730_980_800.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordServer]:
    folder = tmp_path / "record"
    folder.mkdir()
    (folder / IMAGES).write_bytes(CONTENT)
    (folder / MAPS).write_bytes(b"maps")
    with RecordServer(folder) as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def http(waits: list[float]) -> Http:
    return Http(Patience(connect_seconds=5, stall_seconds=0.3), sleep=waits.append, now=lambda: NOW)


@pytest.fixture
def file(server: RecordServer) -> RecordFile:
    return RecordFile(IMAGES, SIZE, MD5, server.file_url(IMAGES))


def read_all(http: Http, file: RecordFile, start: int = 0) -> bytes:
    with HttpReader(http, file, start) as reader:
        return reader.read()


def told(server: RecordServer, header: str) -> list[str | None]:
    """That header of every request for the images."""
    return [request.headers.get(header) for request in server.requests_for(IMAGES)]


# Records


def test_a_record_is_fetched_in_our_own_name(server: RecordServer, http: Http) -> None:
    record = fetch_record(http, server.record_url)
    assert (record.record_id, record.version) == ("10891137", "2.0.0")
    assert record.require(IMAGES) == RecordFile(IMAGES, SIZE, MD5, server.file_url(IMAGES))
    (request,) = server.requests
    agent = request.headers["User-Agent"]
    assert agent.startswith(f"bigearthnet-prefect/{__version__} (+https://")
    assert request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_refused_record_is_not_asked_for_again(
    server: RecordServer, http: Http, waits: list[float], status: int
) -> None:
    server.faults[RECORD] = [Fault(status=status, retry_after="5")]
    with pytest.raises(SourceError, match=f"{server.record_url}, the server answered {status}; check"):
        fetch_record(http, server.record_url)
    assert (len(server.requests), waits) == (1, [])


def test_a_record_that_is_not_there_is_refused(server: RecordServer, http: Http) -> None:
    with pytest.raises(SourceError, match=r"records/7, the server answered 404"):
        fetch_record(http, f"{server.url}/api/records/7")


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault(status=503, retry_after="7"), 7),
        (Fault(status=429, retry_after=formatdate(NOW + 11, usegmt=True)), 11),
        (Fault(status=503, retry_after="86400"), 600),
        (Fault(status=503), 2),
        (Fault(status=500, retry_after="7"), 2),
        (Fault(status=504), 2),
        (Fault(drop=True), 2),
        (Fault(break_after=50), 2),
        (Fault(stall_after=50), 2),
    ],
)
def test_a_record_is_asked_for_again(
    server: RecordServer, http: Http, waits: list[float], fault: Fault, wait: float
) -> None:
    server.faults[RECORD] = [fault]
    assert fetch_record(http, server.record_url).require(IMAGES).md5 == MD5
    assert waits == [wait]


def test_a_record_is_given_up_after_six_tries(server: RecordServer, http: Http, waits: list[float]) -> None:
    server.faults[RECORD] = [Fault(status=502)] * 7
    with pytest.raises(TransferError, match=r"api/records/10891137, .* in 6 tries, at last: .* answered 502"):
        fetch_record(http, server.record_url)
    assert len(server.requests) == 6
    assert waits == [2, 4, 8, 16, 32]


def test_nobody_at_home_names_the_host(http: Http, waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TransferError, match=rf"127\.0\.0\.1:{port}/api.* in 6 tries.*refused") as caught:
        fetch_record(http, f"http://127.0.0.1:{port}/api/records/7?token={SIZE}")
    assert str(SIZE) not in "".join(traceback.format_exception(caught.value)), "a token is a secret"


def test_a_host_that_does_not_exist_is_named(http: Http) -> None:
    with pytest.raises(TransferError, match=r"nobody\.invalid/record"):
        fetch_record(http, "http://nobody.invalid/record")


@pytest.mark.parametrize("url", ["http://[::1/x", "http:///x", "http://a:99999/x"])
def test_what_is_no_url_is_refused(http: Http, url: str) -> None:
    with pytest.raises(SourceError, match="expected an http or https URL, found") as caught:
        http.document(f"{url}?token={SIZE}")
    assert str(SIZE) not in "".join(traceback.format_exception(caught.value)), "a token is a secret"


def test_a_record_that_moved_is_followed(server: RecordServer, http: Http) -> None:
    server.faults["/old"] = [Fault(redirect=server.record_url)]
    assert fetch_record(http, f"{server.url}/old").record_id == "10891137"


def test_a_circle_of_redirects_is_refused(server: RecordServer, http: Http, waits: list[float]) -> None:
    server.faults[RECORD] = [Fault(redirect=server.record_url)] * 9
    with pytest.raises(SourceError, match="redirects without an end"):
        fetch_record(http, server.record_url)
    assert waits == []


def test_an_archive_is_not_read_as_a_record(server: RecordServer, http: Http) -> None:
    with (server.folder / MAPS).open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(SourceError, match=r"expected the JSON of a record at .*, found over 16777216 bytes"):
        fetch_record(http, server.file_url(MAPS))
    assert server.bytes_sent(MAPS) < 100 << 20


# Reading


def test_a_file_is_read_over_one_connection(server: RecordServer, http: Http, file: RecordFile) -> None:
    with HttpReader(http, file) as reader:
        head = reader.read(1000)
        assert reader.position == 1000
        assert head + reader.read() == CONTENT
        assert reader.position == SIZE
        assert reader.read(1) == b""
    assert len(server.requests) == 1


@pytest.mark.parametrize("start", [0, 1, SIZE - 1, SIZE])
def test_a_file_is_read_from_a_byte_on(http: Http, file: RecordFile, start: int) -> None:
    assert read_all(http, file, start) == CONTENT[start:]


def test_nothing_is_asked_for_where_there_is_nothing(server: RecordServer, http: Http) -> None:
    empty = RecordFile(IMAGES, 0, None, server.file_url(IMAGES))
    assert read_all(http, empty) == b""
    assert server.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(break_after=700_000),
        Fault(stall_after=700_000),
        Fault(unframed=True, break_after=700_000),
        Fault(break_after=700_000, headers={"Transfer-Encoding": "identity"}),
    ],
)
def test_a_cut_answer_is_gone_on_with_where_it_ended(
    server: RecordServer, http: Http, file: RecordFile, waits: list[float], fault: Fault
) -> None:
    server.faults[IMAGES] = [fault]
    assert read_all(http, file) == CONTENT
    assert told(server, "Range") == [None, "bytes=700000-"]
    assert told(server, "If-Range") == [None, f'"md5:{MD5}"']
    assert [request.status for request in server.requests] == [200, 206]
    assert server.bytes_sent(IMAGES) == SIZE, "no byte came twice"
    assert waits == [2]


def test_a_range_that_is_framed_short_is_gone_on_with(
    server: RecordServer, http: Http, file: RecordFile
) -> None:
    server.faults[IMAGES] = [Fault(break_after=500_000), Fault(short=400_000)]
    assert read_all(http, file) == CONTENT
    assert told(server, "Range") == [None, "bytes=500000-", "bytes=900000-"]


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault(status=503, retry_after="7"), 7),
        (Fault(status=429, retry_after="7"), 7),
        (Fault(status=502, retry_after="7"), 2),
        (Fault(drop=True), 2),
        (Fault(break_after=0), 2),
    ],
)
def test_a_refused_continuation_is_asked_for_again(
    *, server: RecordServer, http: Http, file: RecordFile, waits: list[float], fault: Fault, wait: float
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), fault]
    assert read_all(http, file) == CONTENT
    assert waits == [2, wait]


def test_retry_after_counts_for_nothing_with_success(
    server: RecordServer, http: Http, file: RecordFile, waits: list[float]
) -> None:
    assert read_all(http, file) == CONTENT
    assert waits == []


@pytest.mark.parametrize("etag", [{}, {"ETag": None}])
def test_a_whole_file_for_a_range_is_never_appended(
    server: RecordServer, http: Http, file: RecordFile, etag: dict[str, None]
) -> None:
    server.faults[IMAGES] = [
        Fault(break_after=700_000, headers=etag),
        Fault(ignore_range=True, break_after=300_000, headers=etag),
        Fault(ignore_range=True, headers=etag),
    ]
    assert read_all(http, file) == CONTENT
    assert [request.status for request in server.requests] == [200, 200, 200]


def test_without_an_etag_the_date_is_the_condition(
    server: RecordServer, http: Http, file: RecordFile
) -> None:
    dates = ["Thu, 07 Nov 2024 11:00:00 GMT", "Thu, 07 Nov 2024 12:00:00 GMT"]
    first, same, later = ({"ETag": None, "Last-Modified": dates[i]} for i in (0, 0, 1))
    server.faults[IMAGES] = [Fault(break_after=700_000, headers=first), Fault(headers=same)]
    assert read_all(http, file) == CONTENT
    assert told(server, "If-Range") == [None, dates[0]]
    server.faults[IMAGES] = [Fault(break_after=700_000, headers=first), Fault(headers=later)]
    with pytest.raises(ChecksumError, match=f"changed .*{dates[0]}.*found {dates[1]}"):
        read_all(http, file)


def test_a_file_that_changes_while_it_is_read_is_refused(
    server: RecordServer, http: Http, file: RecordFile
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(etag='"md5:new"')]
    with pytest.raises(ChecksumError, match=rf'changed .* "md5:{MD5}" .*, found "md5:new" at byte 700000'):
        read_all(http, file)


def test_a_range_of_another_edition_is_refused(server: RecordServer, http: Http, file: RecordFile) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(etag='"md5:new"', ignore_if_range=True)]
    with pytest.raises(ChecksumError, match=r'changed .*found "md5:new"'):
        read_all(http, file)
    assert server.requests[1].status == 206


def test_another_range_than_asked_for_is_not_used(
    server: RecordServer, http: Http, file: RecordFile, waits: list[float]
) -> None:
    wrong = Fault(headers={"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"})
    server.faults[IMAGES] = [Fault(break_after=700_000), wrong]
    assert read_all(http, file) == CONTENT
    assert len(waits) == 2


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_another_size_than_the_records_is_refused(
    server: RecordServer, http: Http, file: RecordFile, size: int
) -> None:
    promised = RecordFile(IMAGES, size, None, file.location)
    with pytest.raises(ChecksumError, match=f"expected {size} bytes of {IMAGES} .* the server has {SIZE}"):
        read_all(http, promised)
    with pytest.raises(ChecksumError, match=f"expected {size} bytes of {IMAGES} .* the server has {SIZE}"):
        read_all(http, promised, start=5)


def test_a_file_that_ended_before_is_refused(server: RecordServer, http: Http, file: RecordFile) -> None:
    with pytest.raises(ChecksumError, match=f"expected {SIZE + 9} bytes .* none from byte {SIZE} on"):
        read_all(http, RecordFile(IMAGES, SIZE + 9, None, file.location), start=SIZE)


def test_no_more_is_read_than_the_record_promises(server: RecordServer, http: Http, file: RecordFile) -> None:
    server.faults[IMAGES] = [Fault(extra=1_000_000)]
    assert read_all(http, file) == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refused_file_is_not_asked_for_again(
    server: RecordServer, http: Http, file: RecordFile, status: int
) -> None:
    server.faults[IMAGES] = [Fault(break_after=1000), Fault(status=status)]
    with pytest.raises(SourceError, match=f"files/{IMAGES}, the server answered {status}"):
        read_all(http, file)
    assert len(server.requests) == 2


def test_a_file_is_given_up_after_six_tries_without_a_new_byte(
    server: RecordServer, http: Http, file: RecordFile, waits: list[float]
) -> None:
    server.faults[IMAGES] = [Fault(break_after=1000), *[Fault(break_after=0)] * 6]
    with HttpReader(http, file) as reader:
        assert reader.read(SIZE) == CONTENT[:1000]
        with pytest.raises(TransferError, match=rf"byte 1000 of {IMAGES} from {server.url}.* in 6 tries"):
            reader.read(SIZE)
    assert len(server.requests) == 7
    assert waits == [2, 2, 4, 8, 16, 32]


def test_a_byte_now_and_then_is_enough(
    server: RecordServer, http: Http, file: RecordFile, waits: list[float]
) -> None:
    server.faults[IMAGES] = [*[Fault(status=504)] * 5, Fault(break_after=1)] * 3
    assert read_all(http, file) == CONTENT
    assert len(server.requests) == 3 * 6 + 1
    assert waits == [2, 4, 8, 16, 32, *[2, 2, 4, 8, 16, 32] * 2, 2]


def test_bytes_read_again_are_not_new(server: RecordServer, http: Http, file: RecordFile) -> None:
    again = Fault(ignore_range=True, break_after=600_000)
    server.faults[IMAGES] = [Fault(break_after=700_000), *[again] * 6]
    with pytest.raises(TransferError, match=r"byte 700000 of .* in 6 tries"):
        read_all(http, file)


def test_a_file_elsewhere_is_followed(server: RecordServer, http: Http, file: RecordFile) -> None:
    server.faults["/moved"] = [Fault(redirect=file.location)] * 2
    server.faults[IMAGES] = [Fault(break_after=700_000)]
    assert read_all(http, RecordFile(IMAGES, SIZE, MD5, f"{server.url}/moved")) == CONTENT
    assert told(server, "Range") == [None, "bytes=700000-"]


def test_a_closed_reader_does_not_read(http: Http, file: RecordFile) -> None:
    reader = HttpReader(http, file)
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.readinto(bytearray(1))


@pytest.fixture
def watched() -> Iterator[tuple[str, Callable[[bytes], Future[bytes]]]]:
    """A URL, and what answers the next request there; it gives b"" when the client closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:

        def answer(content: bytes) -> bytes:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                try:
                    connection.sendall(content)
                    return connection.recv(1)
                except ConnectionError:  # closed before all was read
                    return b""

        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        yield url, lambda content: threads.submit(answer, content)


def test_a_connection_is_closed_with_its_reader(
    http: Http, watched: tuple[str, Callable[[bytes], Future[bytes]]]
) -> None:
    url, answer = watched
    end = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    reader = HttpReader(http, RecordFile(MAPS, 10, None, url))
    assert reader.readinto(bytearray(5)) == 5
    reader.close()
    assert end.result() == b""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\n12345", "answered 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(17 << 20), "name the record"),
    ],
    ids=["refused", "too long"],
)
def test_a_refused_answers_connection_is_closed(
    http: Http, watched: tuple[str, Callable[[bytes], Future[bytes]]], content: bytes, message: str
) -> None:
    url, answer = watched
    end = answer(content)
    with pytest.raises(SourceError, match=message) as caught:
        http.document(url)
    assert end.result() == b"", f"open although {caught.value}"


# Downloads


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
from bigearthnet.http_client import Http
from bigearthnet.record import RecordFile
from bigearthnet.transfer import download
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
