"""The server of `bigearthnet browse`, asked by urllib, and read beside the files themselves."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from shutil import copytree
from threading import Thread
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.errors import SourceError
from deployments.browse import browse, byte_range, make_server
from tests.support.published import CARD, FILES, IMAGES_ZIP, PAGE


@pytest.fixture(scope="module")
def port(published_sample: Path) -> Iterator[int]:
    with make_server(str(published_sample), 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port: int, name: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = Request(f"http://127.0.0.1:{port}/{name}", headers=headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        return error.code, dict(error.headers), error.read()


@given(st.integers(0, 300), st.integers(0, 300) | st.none(), st.integers(0, 300) | st.none())
def test_a_range_is_that_of_the_bytes(size: int, first: int | None, last: int | None) -> None:
    data = bytes(i % 251 for i in range(size))
    found = byte_range(f"bytes={'' if first is None else first}-{'' if last is None else last}", size)
    if (first is None and last is None) or (first is not None and last is not None and last < first):
        assert found is None
    else:
        wanted = data[-last:] if first is None and last else data[first : None if last is None else last + 1]
        assert found is not None
        assert data[found.start : found.stop] == (b"" if first is None and last == 0 else wanted)
        assert len(found) == len(data[found.start : found.stop])


@pytest.mark.parametrize(
    "header", ["", "bytes=", "bytes=0-1,4-5", "items=0-1", "bytes=-", "bytes=x-2", "bytes=٣-"]
)
def test_other_ranges_mean_the_whole_file(header: str) -> None:
    assert byte_range(header, 10) is None


def test_all_files_of_the_card_are_sent(port: int, published_sample: Path) -> None:
    for name in FILES:
        status, headers, data = get(port, name)
        assert (status, data) == (200, (published_sample / name).read_bytes())
        assert headers["Accept-Ranges"] == "bytes"
    assert get(port, PAGE)[1]["Content-Type"] == "text/html; charset=utf-8"
    assert get(port, "")[2] == (published_sample / PAGE).read_bytes(), "the front page leads to the page"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("0-0", slice(0, 1)),
        ("1000-65535", slice(1000, 65536)),
        ("-22", slice(-22, None)),
        ("7-", slice(7, None)),
    ],
)
def test_a_range_of_a_zip_is_sent(port: int, published_sample: Path, asked: str, sent: slice) -> None:
    whole = (published_sample / IMAGES_ZIP).read_bytes()
    status, headers, data = get(port, IMAGES_ZIP, Range=f"bytes={asked}")
    assert (status, data) == (206, whole[sent])
    first, stop, _ = sent.indices(len(whole))
    assert headers["Content-Range"] == f"bytes {first}-{stop - 1}/{len(whole)}"


def test_what_is_not_there_is_not_sent(port: int, published_sample: Path) -> None:
    size = (published_sample / IMAGES_ZIP).stat().st_size
    status, headers, data = get(port, IMAGES_ZIP, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"], data) == (416, f"bytes */{size}", b"")
    for name in (
        ".lock",
        ".bigearthnet",
        "../record/metadata.parquet",
        "%2e%2e/record/metadata.parquet",
        "none",
    ):
        assert get(port, name)[0] == 404
    assert get(port, CARD, Host="attacker.example")[0] == 421


def test_one_connection_takes_several_requests_and_head_sends_no_bytes(
    port: int, published_sample: Path
) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for method, name in (("HEAD", CARD), ("GET", "none"), ("HEAD", IMAGES_ZIP), ("GET", CARD)):
        connection.request(method, f"/{name}")
        answer = connection.getresponse()
        data = answer.read()
        if name != "none":
            assert answer.headers["Content-Length"] == str((published_sample / name).stat().st_size)
        assert bool(data) == ((method, name) == ("GET", CARD))
    assert json.loads(data)["title"]
    connection.close()


def test_a_dataset_without_a_page_is_refused(tmp_path: Path, published_sample: Path) -> None:
    folder = copytree(published_sample, tmp_path / "d")
    card = json.loads((folder / CARD).read_bytes())
    card["files"] = [file for file in card["files"] if file["name"] != PAGE]
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(SourceError, match=f"{folder} has no {PAGE}: .* Prepare it again"):
        make_server(str(folder), 0)


def test_the_command_says_where_and_ends_by_ctrl_c(published_sample: Path, tmp_path: Path) -> None:
    def browse(folder: Path) -> subprocess.Popen[str]:
        command = (sys.executable, "-m", "deployments.cli", "browse", str(folder))
        environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)

    process = browse(published_sample)
    assert process.stdout is not None
    found = re.fullmatch(
        rf"Open http://127\.0\.0\.1:(\d+)/{PAGE}\. Press Ctrl-C to end\.\n", process.stdout.readline()
    )
    assert found is not None
    assert get(int(found[1]), CARD)[0] == 200
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("\n", "")
    assert process.returncode == 0
    process = browse(tmp_path)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith(f"bigearthnet browse: there is no dataset in {tmp_path}: it has no {CARD}.")


def test_a_port_that_is_in_use_is_named(published_sample: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(SystemExit) as end:
        browse(str(published_sample), port=(port := other.getsockname()[1]))
    said = f"bigearthnet browse: cannot use port {port}: Address already in use. Choose another --port."
    assert str(end.value) == said
