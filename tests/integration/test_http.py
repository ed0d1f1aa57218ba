"""Requests and files over HTTP, from a real server that does everything wrong a server can do."""

import contextlib
import itertools
import logging
import socket
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time
from types import SimpleNamespace

import pytest

from bigearthnet import __version__
from bigearthnet.errors import ChangedError, SourceError, TransferError
from bigearthnet.source.http import Http
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import reader
from tests.support.certificate import self_signed
from tests.support.record_server import RECORD, Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, SIZE, read_all, sent_headers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer

SECRET = "sesame"  # noqa: S105 - of nothing
BACKOFF = [0, 2, 4, 8, 16, 32, 64, 120, 120]


def everything_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


# Requests


def test_requests_say_who_asks_and_want_bytes_as_they_are(server: RecordServer, source: ZenodoSource) -> None:
    assert source.record().require(IMAGES) == RecordFile(IMAGES, SIZE, MD5, server.file_url(IMAGES))
    (request,) = server.requests
    assert request.headers["User-Agent"].startswith(f"bigearthnet-prefect/{__version__} (+https://")
    assert request.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault(status=503, retry_after="7"), 7),
        (Fault(status=429, retry_after="0"), 0),
        (Fault(status=503, retry_after="86400"), 600),
        (Fault(status=503, retry_after=formatdate(time() + 86400, usegmt=True)), 600),
        (Fault(status=503, retry_after="9" * 5000), 0),
        (Fault(status=503, retry_after=f"Thu, 07 Nov {10**20} 12:01:00 GMT"), 0),
        (Fault(status=408), 0),
        (Fault(drop=True), 0),
        (Fault(break_after=50), 0),
        (Fault(stall_after=50), 0),
    ],
)
def test_a_request_is_repeated_once_for_a_passing_failure(
    server: RecordServer, source: ZenodoSource, waits: list[float], fault: Fault, wait: float
) -> None:
    server.faults[RECORD] = [fault]
    assert source.record().require(IMAGES).md5 == MD5
    assert (waits, len(server.requests)) == ([wait], 2)


@pytest.mark.parametrize("fault", [Fault(status=502), Fault(drop=True), Fault(break_after=50)])
def test_a_request_is_given_up_after_ten_tries(
    server: RecordServer, source: ZenodoSource, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    server.faults[RECORD] = [fault] * 11
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(TransferError, match=rf"^cannot read {server.record_url}: .*Try again later\.$"),
    ):
        source.record()
    assert len(server.requests) == 10
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records] == [
        f"trying again in {seconds} s" for seconds in BACKOFF
    ]


@pytest.mark.parametrize(
    ("status", "says", "message"),
    [
        (204, b"", r"204\. Check"),
        (400, b"", r"400\. Check"),
        (404, b"<p>It   was\nremoved &amp; \x1b[31mlost</p>", r'404 \("It was removed &"\)\. Check'),
        (
            403,
            b"<head><title>403</title><style>p {}</style></head><p>Unusual traffic from your network</p>",
            r'403 \("Unusual traffic from your network"\).*use another network',
        ),
    ],
)
def test_a_refusal_is_final_and_told_in_the_servers_words(
    *, server: RecordServer, source: ZenodoSource, waits: list[float], status: int, says: bytes, message: str
) -> None:
    server.faults[RECORD] = [Fault(status=status, retry_after="5", says=says)]
    with pytest.raises(SourceError, match=f"^cannot read {server.record_url}: the server answered {message}"):
        source.record()
    assert (len(server.requests), waits) == (1, [])


def test_a_token_is_sent_but_not_told(
    server: RecordServer, http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults[RECORD] = [Fault(status=503), Fault(drop=True), Fault(redirect=f"?key={SECRET}")]
    source = ZenodoSource(f"{server.record_url}?token={SECRET}#{SECRET}", http)
    with caplog.at_level(logging.DEBUG):
        source.record()
        server.faults[RECORD] = [Fault(status=404)]
        with pytest.raises(SourceError, match="answered 404") as refused:
            source.record()
        with socket.create_server(("127.0.0.1", 0)) as free:
            host = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(TransferError, match=rf"{host}/x.*refused") as unanswered:
            http.document(f"http://me:{SECRET}@{host}/x?token={SECRET}")
    assert server.requests[0].path.endswith(f"?token={SECRET}")
    told = everything_of(refused.value) + everything_of(unanswered.value) + caplog.text
    assert SECRET not in told + str(source) + repr(source)


@pytest.mark.parametrize("url", ["http://[::1/x", "http:///x", "http://a:99999/x"])
def test_an_invalid_url_is_refused(http: Http, url: str) -> None:
    with pytest.raises(SourceError, match="is not a valid http or https URL") as caught:
        http.document(f"{url}?token={SECRET}")
    assert SECRET not in everything_of(caught.value)


def test_redirects_are_followed_on_the_same_host_only(
    server: RecordServer, http: Http, waits: list[float]
) -> None:
    server.faults["/old"] = [Fault(redirect="/older"), Fault(redirect="http://localhost/latest/meta-data")]
    server.faults["/older"] = [Fault(redirect=server.record_url)]
    source = ZenodoSource(f"{server.url}/old", http)
    assert source.record().record_id == "10891137"
    with pytest.raises(
        SourceError, match=r"/old leads to http://localhost/latest/meta-data, which is not on"
    ):
        source.record()
    server.faults["/old"] = [Fault(redirect="/old")] * 9
    server.requests.clear()
    with pytest.raises(SourceError, match="answered 302"):
        source.record()
    assert (len(server.requests), waits) == (6, [])


def test_the_latest_version_is_followed_on_the_same_host_only(
    server: RecordServer, source: ZenodoSource
) -> None:
    assert source.latest().text == f"{server.record_url}/versions/latest"
    assert source.latest().record() == source.record()
    server.latest = "http://localhost/api/records/7"
    with pytest.raises(
        SourceError, match=f"{server.record_url} leads to http://localhost/api/records/7, which"
    ):
        source.latest()
    server.latest = ""
    assert source.latest() is source


def test_an_archive_is_not_read_as_a_record(server: RecordServer, http: Http) -> None:
    with (server.folder / MAPS).open("wb") as file:
        file.truncate(16 << 20)
        assert len(http.document(server.file_url(MAPS))) == 16 << 20
        file.truncate((16 << 20) + 1)
    with pytest.raises(SourceError, match="has more than 16 MiB, so it is not a record"):
        http.document(server.file_url(MAPS))


def test_a_certificate_that_is_not_valid_fails_at_once(
    server: RecordServer, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "certificate.pem"
    with RecordServer(server.folder, tls=self_signed(certificate)) as secure:
        source = ZenodoSource(f"{secure.record_url}?token={SECRET}", Http(sleep=waits.append))
        with pytest.raises(
            SourceError, match=r"certificate of the server is not valid .*self.signed"
        ) as caught:
            source.record()
        assert SECRET not in everything_of(caught.value)
        assert (waits, secure.requests) == ([], [])
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # as the message says
        assert source.record().record_id == "10891137"
        secure.faults[RECORD] = [Fault(redirect=server.record_url)]
        with pytest.raises(SourceError, match="leads to http:"):
            source.record()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_is_used(
    server: RecordServer, http: Http, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, server.url.replace("//", "//me:se%40same@"))
    server.faults["/api"] = [Fault(redirect="/api/records/10891137")]
    assert http.document("http://zenodo.invalid/api") == server.document()
    assert [request.path for request in server.requests] == [
        "http://zenodo.invalid/api",
        "http://zenodo.invalid/api/records/10891137",
    ]
    assert server.requests[0].headers["Proxy-Authorization"] == "Basic bWU6c2VAc2FtZQ=="  # me:se@same


def test_https_goes_through_its_own_proxy(
    server: RecordServer, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.url.removeprefix("http://"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(TransferError, match=r"cannot read https://zenodo.invalid/x: .*proxy"):
        http.document("https://zenodo.invalid/x")
    assert {(request.method, request.path) for request in server.requests} == {
        ("CONNECT", "zenodo.invalid:443")
    }


@pytest.mark.parametrize("hosts", ["*", "127.0.0.1", "zenodo.org, 127.0.0.1"])
def test_no_proxy_is_used_for_its_hosts(
    source: ZenodoSource, monkeypatch: pytest.MonkeyPatch, hosts: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", hosts)
    assert source.record().record_id == "10891137"


def test_a_proxy_of_another_kind_is_refused(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5h://me:{SECRET}@127.0.0.1:1080")
    with pytest.raises(SourceError, match="only http and https proxies are supported") as caught:
        http.document("https://zenodo.invalid/x")
    assert SECRET not in everything_of(caught.value)


# Files


@pytest.mark.parametrize("start", [0, 1, SIZE - 1, SIZE])
def test_a_file_is_read_from_a_byte_on(
    server: RecordServer, source: ZenodoSource, file: RecordFile, waits: list[float], start: int
) -> None:
    assert read_all(source, file, start) == CONTENT[start:]
    assert (len(server.requests), waits) == (0 if start == SIZE else 1, [])


@pytest.mark.parametrize("fault", [Fault(break_after=700_000), Fault(stall_after=700_000)])
def test_a_broken_body_is_resumed_where_it_ended(
    *, server: RecordServer, source: ZenodoSource, file: RecordFile, waits: list[float], fault: Fault
) -> None:
    server.faults[IMAGES] = [fault, Fault(break_after=400_000), Fault(status=504)]
    assert read_all(source, file) == CONTENT
    assert sent_headers(server, "Range") == [None, "bytes=700000-", *["bytes=1100000-"] * 2]
    assert [request.status for request in server.requests] == [200, 206, 504, 206]
    assert waits == [0, 0, 0], "each failure is waited for once"


def test_a_whole_file_in_answer_to_a_range_is_not_appended(
    server: RecordServer, source: ZenodoSource, file: RecordFile
) -> None:
    whole = Fault(ignore_range=True)
    server.faults[IMAGES] = [replace(whole, break_after=700_000), replace(whole, break_after=300_000), whole]
    assert read_all(source, file) == CONTENT
    assert [request.status for request in server.requests] == [200, 200, 200]


@pytest.mark.parametrize(("size", "start"), [(SIZE - 1, 0), (SIZE + 1, 0), (SIZE - 1, 5), (SIZE + 9, SIZE)])
def test_another_size_than_the_records_is_refused(
    source: ZenodoSource, file: RecordFile, size: int, start: int
) -> None:
    with pytest.raises(
        ChangedError, match=f"{IMAGES} has {size:,} bytes in the record, but {SIZE:,} on the server"
    ):
        read_all(source, replace(file, size=size), start)


def test_a_size_that_is_not_stated_is_not_compared(
    server: RecordServer, source: ZenodoSource, file: RecordFile
) -> None:
    server.faults[IMAGES] = [Fault(headers={"Content-Length": None})]
    assert read_all(source, replace(file, size=SIZE - 5)) == CONTENT[:-5], "no more than the record says"


@pytest.mark.parametrize("content_range", [f"bytes 0-{SIZE - 1}/{SIZE}", f"bytes 700000-{SIZE - 1}/*", None])
def test_another_range_than_asked_for_is_not_used(
    server: RecordServer, source: ZenodoSource, file: RecordFile, content_range: str | None
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(headers={"Content-Range": content_range})]
    with pytest.raises(TransferError, match=f"another range of {IMAGES} than asked for"):
        read_all(source, file)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=503), "answered 503"),
        (Fault(status=403, says=b"Unusual traffic"), r'403 \("Unusual traffic"\)\. Try again later'),
    ],
)
def test_a_file_is_given_up_after_ten_requests_in_a_row(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    waits: list[float],
    fault: Fault,
    message: str,
) -> None:
    server.faults[IMAGES] = [Fault(break_after=1000), fault, fault]
    assert read_all(source, file) == CONTENT
    waits.clear()
    server.faults[IMAGES] = [Fault(break_after=1000), *[fault] * 10]
    with pytest.raises(TransferError, match=rf"cannot read {IMAGES} from {server.url}/.*: .*{message}"):
        read_all(source, file)
    assert waits == [0, *BACKOFF]


@pytest.mark.parametrize(("received", "complete"), [(1 << 16, True), ((1 << 16) - 1, False)])
def test_progress_between_failures_is_enough(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    waits: list[float],
    received: int,
    complete: bool,
) -> None:
    server.faults[IMAGES] = [Fault(break_after=received)] * 15
    if complete:
        assert read_all(source, file) == CONTENT
        assert len(server.requests) == 16
    else:
        with pytest.raises(TransferError, match="10 tries in a row brought next to nothing"):
            read_all(source, file)
        assert (len(server.requests), waits) == (10, BACKOFF)


def test_a_trickle_is_not_waited_for_without_end(
    server: RecordServer, source: ZenodoSource, file: RecordFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=20)  # each look at it is 20 s later
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    server.faults[IMAGES] = [Fault(drip_seconds=0.01)] * 11
    with pytest.raises(TransferError, match=r"at last: only \d+ bytes arrived in 60 s"):
        read_all(source, file)
    assert len(server.requests) == 10


def test_a_slow_reader_is_not_a_slow_server(
    server: RecordServer, source: ZenodoSource, file: RecordFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with source.open(file) as opened:
        for _ in range(5):
            assert opened.read(10)
            now[0] += 1000
    assert len(server.requests) == 1


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
