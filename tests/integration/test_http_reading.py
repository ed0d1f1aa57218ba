"""Files read over HTTP, from a real server that does everything wrong a server can do."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from bigearthnet.source.old.http import Http
from bigearthnet.source.old.http_reader import HttpReader
from bigearthnet.source.old.record import RecordFile

from bigearthnet.errors import ChecksumError, SourceError, TransferError
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, SIZE, read_all, told

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer
pytest_plugins = ("tests.support.transfer_fixtures",)


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
