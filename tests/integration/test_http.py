"""Requests and files over HTTP, from a real server that does everything wrong a server can do."""

import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from bigearthnet import __version__
from bigearthnet.errors import ChangedError, SourceError, TransferError
from bigearthnet.source.http import Http, safe_url
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from tests.support.certificate import self_signed
from tests.support.record_server import RECORD, Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, SIZE, read_all, sent_headers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer

SECRET = "sesame"  # noqa: S105 - of nothing
BACKOFF = [0, 2, 4, 8, 16, 32, 64, 120, 120]
DATES = ["Thu, 07 Nov 2024 11:00:00 GMT", "Thu, 07 Nov 2024 12:00:00 GMT"]


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
        (Fault(status=503, retry_after="soon"), 0),
        (Fault(status=503, retry_after="9" * 5000), 0),
        (Fault(status=503, retry_after=f"Thu, 07 Nov {10**20} 12:01:00 GMT"), 0),
        (Fault(status=500, retry_after="7"), 0),
        (Fault(status=408), 0),
        (Fault(status=599), 0),
        (Fault(drop=True), 0),
        (Fault(break_after=50), 0),
        (Fault(stall_after=50), 0),
        (Fault(stall_after=0, drip_seconds=0.01), 0),
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
    server: RecordServer,
    source: ZenodoSource,
    waits: list[float],
    *,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.faults[RECORD] = [fault] * 11
    with pytest.raises(TransferError, match=rf"^cannot read {server.record_url}: .*Try again later\.$"):
        source.record()
    assert len(server.requests) == 10
    assert waits == BACKOFF
    ours = [record for record in caplog.records if record.name == "bigearthnet.source.http"]
    assert [record.getMessage().rpartition("trying again ")[2] for record in ours] == [
        f"in {s} s" for s in BACKOFF
    ]
    assert not [record for record in caplog.records if record.name.startswith("urllib3")]


def test_one_count_of_tries_is_for_request_and_body(server: RecordServer, source: ZenodoSource) -> None:
    server.faults[RECORD] = [Fault(status=502), Fault(break_after=50)] * 9
    with pytest.raises(TransferError):
        source.record()
    assert len(server.requests) == 10


@pytest.mark.parametrize("status", [204, 400, 401, 404, 410])
def test_a_refusal_is_final_and_told_in_the_servers_words(
    server: RecordServer, source: ZenodoSource, waits: list[float], status: int
) -> None:
    server.faults[RECORD] = [
        Fault(status=status, retry_after="5", says=b"<p>It   was\nremoved &amp; lost</p>")
    ]
    words = "" if status == 204 else r' \("It was removed & lost"\)'
    with pytest.raises(
        SourceError, match=rf"{server.record_url}: the server answered {status}{words}\. Check"
    ):
        source.record()
    assert (len(server.requests), waits) == (1, [])


def test_too_much_traffic_is_told_in_zenodos_words(
    server: RecordServer, source: ZenodoSource, waits: list[float]
) -> None:
    page = b"<head><title>403</title><style>p {}</style></head><p>Unusual traffic from your network</p>"
    server.faults[RECORD] = [Fault(status=403, says=page)]
    with pytest.raises(
        SourceError, match=r'403 \("Unusual traffic from your network"\).*use another network'
    ):
        source.record()
    assert (len(server.requests), waits) == (1, [])


def test_too_much_traffic_in_the_middle_of_a_file_is_waited_for(
    server: RecordServer, source: ZenodoSource, file: RecordFile, waits: list[float]
) -> None:
    limit = Fault(status=403, says=b"Unusual traffic")
    server.faults[IMAGES] = [Fault(break_after=700_000), limit, limit]
    assert read_all(source, file) == CONTENT
    assert waits == [0, 0, 2]
    server.faults[IMAGES] = [Fault(break_after=700_000), *[limit] * 10]
    with pytest.raises(TransferError, match=r'403 \("Unusual traffic"\)\. Try again later'):
        read_all(source, file)


def test_nobody_at_home_names_the_host_and_no_token(http: Http, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = ZenodoSource(f"http://me:{SECRET}@127.0.0.1:{port}/api/records/7?token={SECRET}", http)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(TransferError, match=rf"127\.0\.0\.1:{port}/api.*refused") as caught,
    ):
        source.record()
    assert SECRET not in everything_of(caught.value) + caplog.text + str(source) + repr(source)


def test_a_token_is_sent_but_not_told(
    server: RecordServer, http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults[RECORD] = [Fault(status=503), Fault(drop=True), Fault(status=404)]
    source = ZenodoSource(f"{server.record_url}?token={SECRET}#{SECRET}", http)
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError, match="answered 404") as caught:
        source.record()
    assert server.requests[0].path.endswith(f"?token={SECRET}")
    assert SECRET not in everything_of(caught.value) + caplog.text + str(source) + repr(source)


@pytest.mark.parametrize("url", ["http://[::1/x", "http:///x", "http://a:99999/x"])
def test_an_invalid_url_is_refused(http: Http, url: str) -> None:
    with pytest.raises(SourceError, match="is not a valid http or https URL") as caught:
        http.document(f"{url}?token={SECRET}")
    assert SECRET not in everything_of(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://a/b", f"https://a/b?token={SECRET}", f"https://a/b#{SECRET}", f"https://me:se@{SECRET}@a/b"],
)
def test_secrets_are_removed_from_urls(url: str) -> None:
    assert safe_url(url) == "https://a/b"


def test_redirects_are_followed_on_the_same_host_only(
    server: RecordServer, http: Http, waits: list[float], tmp_path: Path
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
    with pytest.raises(SourceError, match="redirects more than 5 times"):
        source.record()
    assert (len(server.requests), waits) == (6, [])


def test_the_latest_version_is_followed_on_the_same_host_only(
    server: RecordServer, source: ZenodoSource
) -> None:
    assert str(source.latest()) == f"{server.record_url}/versions/latest"
    assert source.latest().record() == source.record()
    server.latest = "http://localhost/api/records/7"
    with pytest.raises(
        SourceError, match=f"{server.record_url} leads to http://localhost/api/records/7, which"
    ):
        source.latest()
    server.latest = None
    server.names_latest = False
    assert source.latest() is source


def test_an_archive_is_not_read_as_a_record(server: RecordServer, http: Http) -> None:
    with (server.folder / MAPS).open("wb") as file:
        file.truncate(100 << 20)
    server.md5(MAPS)  # while nobody waits
    with pytest.raises(SourceError, match="has more than 16 MiB, so it is not a record"):
        http.document(server.file_url(MAPS))
    assert server.bytes_sent(MAPS) < 100 << 20


def test_a_certificate_that_is_not_valid_fails_at_once(
    server: RecordServer, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "certificate.pem"
    with RecordServer(server.folder, tls=self_signed(certificate)) as secure:
        with pytest.raises(
            SourceError, match=r"certificate of the server is not valid \(self.signed"
        ) as caught:
            ZenodoSource(f"{secure.record_url}?token={SECRET}", Http(sleep=waits.append)).record()
        assert SECRET not in everything_of(caught.value)
        assert (waits, secure.requests) == ([], [])
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # as the message says
        source = ZenodoSource(secure.record_url, Http(sleep=waits.append))
        assert source.record().record_id == "10891137"
        secure.faults[RECORD] = [Fault(redirect=server.record_url)]
        with pytest.raises(SourceError, match="leads to http:"):
            source.record()


# Proxies


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_is_used(
    server: RecordServer, http: Http, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, server.url.replace("//", "//me:se%40same@"))
    url = "http://zenodo.invalid/api/records/10891137"
    assert http.document(url) == server.document()
    (request,) = server.requests
    assert request.path == url
    assert request.headers["Proxy-Authorization"] == "Basic bWU6c2VAc2FtZQ=="  # me:se@same


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


def test_a_proxy_of_another_kind_is_named_without_its_password(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5h://me:{SECRET}@127.0.0.1:1080")
    with pytest.raises(SourceError, match=r"cannot use the proxy socks5h://127.0.0.1: only http") as caught:
        http.document("https://zenodo.invalid/x")
    assert SECRET not in everything_of(caught.value)


# Files


@pytest.mark.parametrize("start", [0, 1, SIZE - 1, SIZE])
def test_a_file_is_read_from_a_byte_on(
    server: RecordServer, source: ZenodoSource, file: RecordFile, waits: list[float], start: int
) -> None:
    assert read_all(source, file, start) == CONTENT[start:]
    assert (len(server.requests), waits) == (0 if start == SIZE else 1, [])


@pytest.mark.parametrize(
    "fault",
    [
        Fault(break_after=700_000),
        Fault(stall_after=700_000),
        Fault(unframed=True, break_after=700_000),
        Fault(break_after=700_000, headers={"Transfer-Encoding": "identity"}),
    ],
)
def test_a_broken_body_is_resumed_where_it_ended(
    *, server: RecordServer, source: ZenodoSource, file: RecordFile, waits: list[float], fault: Fault
) -> None:
    server.faults[IMAGES] = [fault, Fault(short=400_000), Fault(status=504)]
    assert read_all(source, file) == CONTENT
    assert sent_headers(server, "Range") == [None, "bytes=700000-", *["bytes=1100000-"] * 2]
    assert sent_headers(server, "If-Range") == [None, *[f'"md5:{MD5}"'] * 3]
    assert [request.status for request in server.requests] == [200, 206, 504, 206]
    assert waits == [0, 0, 0], "each failure is waited for once"


@pytest.mark.parametrize("etag", [{}, {"ETag": None}])
def test_a_whole_file_in_answer_to_a_range_is_not_appended(
    server: RecordServer, source: ZenodoSource, file: RecordFile, etag: dict[str, None]
) -> None:
    whole = Fault(ignore_range=True, headers=etag)
    server.faults[IMAGES] = [replace(whole, break_after=700_000), replace(whole, break_after=300_000), whole]
    assert read_all(source, file) == CONTENT
    assert [request.status for request in server.requests] == [200, 200, 200]


@pytest.mark.parametrize(
    ("first", "then", "condition"),
    [
        ({"ETag": None, "Last-Modified": DATES[0]}, {"ETag": None, "Last-Modified": DATES[0]}, DATES[0]),
        ({"ETag": 'W/"1"', "Last-Modified": DATES[0]}, {"Last-Modified": DATES[0]}, DATES[0]),
        ({"ETag": 'W/"1"'}, {"ETag": 'W/"2"'}, None),
        ({}, {"ETag": f'W/"md5:{MD5}"'}, f'"md5:{MD5}"'),
        ({}, {"ETag": None}, f'"md5:{MD5}"'),
    ],
)
def test_the_same_version_is_resumed(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    first: dict[str, str | None],
    then: dict[str, str | None],
    condition: str | None,
) -> None:
    server.faults[IMAGES] = [
        Fault(break_after=700_000, headers=first),
        Fault(headers=then, ignore_if_range=True),
    ]
    assert read_all(source, file) == CONTENT
    assert sent_headers(server, "If-Range") == [None, condition]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Fault(), Fault(etag='"new"')),
        (Fault(), Fault(etag='"new"', ignore_if_range=True)),
        (
            Fault(headers={"ETag": None, "Last-Modified": DATES[0]}),
            Fault(headers={"ETag": None, "Last-Modified": DATES[1]}),
        ),
    ],
)
def test_another_version_is_not_mixed_in(
    server: RecordServer, source: ZenodoSource, file: RecordFile, first: Fault, then: Fault
) -> None:
    server.faults[IMAGES] = [replace(first, break_after=700_000), then]
    with pytest.raises(
        ChangedError, match=rf"{IMAGES} changed on the server: it was .* up to byte 700,000 and is"
    ):
        read_all(source, file)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("size", "start"), [(SIZE - 1, 0), (SIZE + 1, 0), (SIZE - 1, 5), (SIZE + 9, SIZE)])
def test_another_size_than_the_records_is_refused(
    source: ZenodoSource, file: RecordFile, size: int, start: int
) -> None:
    with pytest.raises(
        ChangedError, match=f"{IMAGES} has {size:,} bytes in the record, but {SIZE:,} on the server"
    ):
        read_all(source, replace(file, size=size), start)


@pytest.mark.parametrize("content_range", [f"bytes 0-{SIZE - 1}/{SIZE}", f"bytes 700000-{SIZE - 1}/*", None])
def test_another_range_than_asked_for_is_not_used(
    server: RecordServer, source: ZenodoSource, file: RecordFile, content_range: str | None
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(headers={"Content-Range": content_range})]
    assert read_all(source, file) == CONTENT
    assert len(server.requests) == 3


def test_no_more_is_read_than_the_record_says(
    server: RecordServer, source: ZenodoSource, file: RecordFile
) -> None:
    server.faults[IMAGES] = [Fault(extra=1_000_000)]
    assert read_all(source, file) == CONTENT


@pytest.mark.parametrize(
    ("fault", "message", "requests"),
    [(Fault(break_after=10), "10 tries in a row", 10), (Fault(status=503), "answered 503", 11)],
)
def test_a_file_is_given_up_after_ten_tries_that_bring_nothing(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    waits: list[float],
    fault: Fault,
    message: str,
    requests: int,
) -> None:
    server.faults[IMAGES] = [Fault(break_after=1000), *[fault] * 11]
    with pytest.raises(TransferError, match=rf"cannot read {IMAGES} from {server.url}/.*: .*{message}"):
        read_all(source, file)
    assert len(server.requests) == requests
    assert waits == [0, *BACKOFF][-requests + 1 :]


def test_progress_between_failures_is_enough(
    server: RecordServer, source: ZenodoSource, file: RecordFile
) -> None:
    server.faults[IMAGES] = [Fault(break_after=70_000)] * 15
    assert read_all(source, file) == CONTENT
    assert len(server.requests) == 16


def test_a_trickle_is_not_waited_for_without_end(
    server: RecordServer, file: RecordFile, waits: list[float]
) -> None:
    source = ZenodoSource(server.record_url, Http(stall_seconds=0.3, sleep=waits.append))
    server.faults[IMAGES] = [Fault(drip_seconds=0.01)] * 11
    with pytest.raises(TransferError, match=r"at last: only \d+ bytes arrived in 0 s"):
        read_all(source, file)
    assert len(server.requests) == 10
    assert waits == BACKOFF


def test_a_slow_reader_is_not_a_slow_server(server: RecordServer, file: RecordFile) -> None:
    now = [0.0]
    http = Http(clock=lambda: now[0])
    with ZenodoSource(server.record_url, http).open(file) as reader:
        for _ in range(5):
            assert reader.read(10)
            now[0] += 1000
    assert len(server.requests) == 1


@pytest.fixture
def answer() -> Iterator[tuple[str, Callable[[bytes], Future[bytes]]]]:
    """A URL, and what answers the next request there; it gives b"" when the client closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as threads:

        def send(content: bytes) -> bytes:
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
        yield url, lambda content: threads.submit(send, content)


@pytest.mark.parametrize(
    ("status", "error"), [("200 OK", None), ("404 Not Found", SourceError), ("206 Partial", ChangedError)]
)
def test_connections_are_closed(
    http: Http,
    answer: tuple[str, Callable[[bytes], Future[bytes]]],
    status: str,
    error: type[Exception] | None,
) -> None:
    url, send = answer
    end = send(
        f"HTTP/1.1 {status}\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/99\r\n\r\n12345".encode()
    )
    reader = ZenodoSource("http://unused", http).open(RecordFile(MAPS, 10, None, url))
    if error is None:
        assert reader.readinto(bytearray(5)) == 5
        reader.close()
    else:
        with pytest.raises(error) as caught:
            reader.read(1)
    assert end.result() == b"", f"open although {error and caught.value}"
