"""What is sent in tests of transfers, a record server that sends it, and requests that wait for nothing."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigearthnet.source.http import Http
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
from tests.support.record_server import RecordServer

IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"
CONTENT = random.Random(1).randbytes(1_500_000)
SIZE = len(CONTENT)
BACKOFF = [0, 2, 4, 8, 16, 32, 64, 120, 120]
"""Seconds between ten tries."""


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()  # noqa: S324


MD5 = md5(CONTENT)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the person who runs the tests does not matter."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordServer]:
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / IMAGES).write_bytes(CONTENT)
    (tmp_path / "record" / MAPS).write_bytes(b"maps")
    with RecordServer(tmp_path / "record") as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    """Seconds that requests and readers have waited."""
    return []


@pytest.fixture
def http(waits: list[float]) -> Http:
    return Http(stall_seconds=1, sleep=waits.append)


@pytest.fixture
def source(server: RecordServer, http: Http) -> ZenodoSource:
    return ZenodoSource(server.record_url, http)


@pytest.fixture
def file(server: RecordServer) -> RecordFile:
    return RecordFile(IMAGES, SIZE, MD5, server.file_url(IMAGES))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty folder."""
    return FolderStore(tmp_path / "store")
