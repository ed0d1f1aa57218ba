"""Requests over HTTP, to a real server that does everything wrong a server can do."""

import itertools
import logging
import socket
import traceback
from email.utils import formatdate
from pathlib import Path
from time import time
from types import SimpleNamespace

import pytest

from bigearthnet import __version__
from bigearthnet.errors import SourceError, TransferError
from bigearthnet.source import http as http_module
from bigearthnet.source.http import Http
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from tests.support.certificate import self_signed
from tests.support.record_server import RECORD, Fault, RecordServer
from tests.support.transfers import BACKOFF, IMAGES, MAPS, MD5, SIZE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer

SECRET = "sesame"  # noqa: S105 - of nothing


def everything_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


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


def test_a_record_that_trickles_is_not_waited_for_without_end(
    server: RecordServer, source: ZenodoSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(step=50)  # each look at it is 50 s later
    monkeypatch.setattr(http_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    server.faults[RECORD] = [Fault(drip_seconds=0.01)] * 11
    with pytest.raises(TransferError, match="only 3 bytes in 120 s"):
        source.record()
    assert len(server.requests) == 10


def test_an_archive_is_not_read_as_a_record(server: RecordServer, http: Http) -> None:
    with (server.folder / MAPS).open("wb") as file:
        file.truncate(2 << 20)
        assert len(http.document(server.file_url(MAPS))) == 2 << 20
        file.truncate((2 << 20) + 1)
    with pytest.raises(SourceError, match="has more than 2 MiB, so it is not a record"):
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
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))  # as for pip
        assert source.record().record_id == "10891137"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
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
    with pytest.raises(SourceError, match=r"cannot read https://zenodo\.invalid/x: the proxy answered 407"):
        http.document("https://zenodo.invalid/x")
    assert [(request.method, request.path) for request in server.requests] == [
        ("CONNECT", "zenodo.invalid:443")
    ]


@pytest.mark.parametrize("url", ["http://zenodo.invalid/x", "https://zenodo.invalid/x"])
@pytest.mark.parametrize("status", [403, 407])
def test_a_proxy_that_refuses_is_no_misspelt_source(
    server: RecordServer,
    http: Http,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    status: int,
) -> None:
    monkeypatch.setenv("ALL_PROXY", server.url.replace("//", f"//me:{SECRET}@"))
    server.faults["/x"] = server.faults["zenodo.invalid:443"] = [Fault(status=status)]
    advice = "use another network" if (status, url[:5]) == (403, "http:") else "Set HTTPS_PROXY"
    with pytest.raises(SourceError, match=rf"cannot read {url}: .* answered {status}.*{advice}") as caught:
        http.document(url)
    assert (len(server.requests), waits) == (1, [])
    assert SECRET not in everything_of(caught.value)


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
