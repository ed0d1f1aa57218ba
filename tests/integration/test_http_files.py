"""Files over HTTP, from a real server that does everything wrong a server can do."""

import contextlib
import itertools
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from bigearthnet.errors import ChangedError, SourceError, TransferError
from bigearthnet.source.http import Http
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import reader
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import BACKOFF, CONTENT, IMAGES, MAPS, SIZE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer


@dataclass
class Images:
    """The archive of images on a record server."""

    server: RecordServer
    source: ZenodoSource
    file: RecordFile
    waits: list[float]

    def read(self, *faults: Fault, start: int = 0, size: int = SIZE) -> bytes:
        """Read to the end, with these faults of the server."""
        self.server.faults[IMAGES] = list(faults)
        self.server.requests.clear()
        self.waits.clear()
        with self.source.open(replace(self.file, size=size), start) as opened:
            return opened.read()


@pytest.fixture
def images(server: RecordServer, source: ZenodoSource, file: RecordFile, waits: list[float]) -> Images:
    return Images(server, source, file, waits)


@pytest.mark.parametrize("start", [0, 1, SIZE - 1, SIZE])
def test_a_file_is_read_from_a_byte_on(images: Images, start: int) -> None:
    assert images.read(start=start) == CONTENT[start:]
    assert (len(images.server.requests), images.waits) == (0 if start == SIZE else 1, [])


@pytest.mark.parametrize("fault", [Fault(break_after=700_000), Fault(stall_after=700_000)])
def test_a_broken_body_is_resumed_where_it_ended(images: Images, fault: Fault) -> None:
    assert images.read(fault, Fault(break_after=400_000), Fault(status=504)) == CONTENT
    assert [(request.headers.get("Range"), request.status) for request in images.server.requests] == [
        (None, 200),
        ("bytes=700000-", 206),
        ("bytes=1100000-", 504),
        ("bytes=1100000-", 206),
    ]
    assert images.waits == [0, 0, 0], "each failure is waited for once"


def test_a_whole_file_in_answer_to_a_range_is_not_appended(images: Images) -> None:
    whole = Fault(ignore_range=True)
    faults = replace(whole, break_after=700_000), replace(whole, break_after=300_000), whole
    assert images.read(*faults) == CONTENT
    assert [request.status for request in images.server.requests] == [200, 200, 200]


@pytest.mark.parametrize(("size", "start"), [(SIZE - 1, 0), (SIZE + 1, 0), (SIZE - 1, 5), (SIZE + 9, SIZE)])
def test_another_size_than_the_records_is_refused(images: Images, size: int, start: int) -> None:
    message = f"{IMAGES} has {size:,} bytes in the record, but {SIZE:,} on the server"
    with pytest.raises(ChangedError, match=message):
        images.read(start=start, size=size)


def test_a_size_that_is_not_stated_is_not_compared(images: Images) -> None:
    unstated = Fault(headers={"Content-Length": None})
    assert images.read(unstated, size=SIZE - 5) == CONTENT[:-5], "no more than the record says"


@pytest.mark.parametrize("content_range", [f"bytes 0-{SIZE - 1}/{SIZE}", f"bytes 700000-{SIZE - 1}/*", None])
def test_another_range_than_asked_for_is_not_used(images: Images, content_range: str | None) -> None:
    with pytest.raises(TransferError, match=f"another range of {IMAGES} than asked for"):
        images.read(Fault(break_after=700_000), Fault(headers={"Content-Range": content_range}))


def test_a_file_is_given_up_after_ten_requests_in_a_row(images: Images) -> None:
    begin, limited = Fault(break_after=1000), Fault(status=403, says=b"Unusual traffic")
    assert images.read(begin, limited, limited) == CONTENT
    message = rf'cannot read {IMAGES} from http://.*: .*403 \("Unusual traffic"\)\. Try again later'
    with pytest.raises(TransferError, match=message):
        images.read(begin, *[limited] * 10)
    assert images.waits == [0, *BACKOFF]


def test_progress_between_failures_is_enough(images: Images) -> None:
    assert images.read(*[Fault(break_after=1 << 16)] * 15) == CONTENT
    assert len(images.server.requests) == 16
    with pytest.raises(TransferError, match="10 tries in a row brought next to nothing"):
        images.read(*[Fault(break_after=(1 << 16) - 1)] * 15)
    assert (len(images.server.requests), images.waits) == (10, BACKOFF)


def test_a_trickle_is_not_waited_for_without_end(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=20)  # each look at it is 20 s later
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with pytest.raises(TransferError, match=r"at last: only \d+ bytes arrived in 60 s"):
        images.read(*[Fault(drip_seconds=0.01)] * 11)
    assert len(images.server.requests) == 10


def test_a_slow_reader_is_not_a_slow_server(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with images.source.open(images.file) as opened:
        for _ in range(5):
            assert opened.read(10)
            now[0] += 1000
    assert len(images.server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"), [("200 OK", None), ("404 Not Found", SourceError), ("206 Partial", ChangedError)]
)
def test_connections_are_closed(http: Http, status: str, error: type[Exception] | None) -> None:
    def is_closed_after_answer() -> bool:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(ConnectionError):  # closed before all was read
            connection.settimeout(5)
            connection.recv(65536)
            head = f"HTTP/1.1 {status}\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/99\r\n\r\n"
            connection.sendall(f"{head}12345".encode())
            return connection.recv(1) == b""
        return True

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:
        closed = threads.submit(is_closed_after_answer)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        opened = ZenodoSource("http://unused", http).open(RecordFile(MAPS, 10, None, url))
        with pytest.raises(error) if error else opened as caught:
            assert opened.readinto(bytearray(5)) == 5
        assert closed.result(), f"open although {caught}"  # `caught` keeps the frames of the error alive
