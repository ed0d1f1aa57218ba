"""A record server and a client without patience, for a test module that asks for them:

pytest_plugins = ("tests.support.transfer_fixtures",)
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bigearthnet.source.old.http import Http, Patience
from bigearthnet.source.old.record import RecordFile

from tests.support.record_server import RecordServer
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, NOW, SIZE


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
