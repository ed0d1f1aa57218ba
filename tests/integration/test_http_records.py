"""Records over HTTP, from a real server that does everything wrong a server can do."""

import socket
import traceback
from email.utils import formatdate

import pytest
from bigearthnet.source.old.http import Http
from bigearthnet.source.old.record import RecordFile
from bigearthnet.source.old.zenodo import fetch_record

from bigearthnet import __version__
from bigearthnet.errors import SourceError, TransferError
from tests.support.record_server import RECORD, Fault, RecordServer
from tests.support.transfers import IMAGES, MAPS, MD5, NOW, SIZE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer
pytest_plugins = ("tests.support.transfer_fixtures",)


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
