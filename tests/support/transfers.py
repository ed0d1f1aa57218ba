"""What is sent in tests of transfers, and what is looked at."""

import hashlib
import random

from bigearthnet.source.old.http import Http
from bigearthnet.source.old.http_reader import HttpReader
from bigearthnet.source.old.record import RecordFile

from tests.support.record_server import RecordServer

IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"
CONTENT = random.Random(1).randbytes(1_500_000)
MD5 = hashlib.md5(CONTENT).hexdigest()  # noqa: S324
SIZE = len(CONTENT)
NOW = 1_730_980_800.0


def read_all(http: Http, file: RecordFile, start: int = 0) -> bytes:
    with HttpReader(http, file, start) as reader:
        return reader.read()


def told(server: RecordServer, header: str) -> list[str | None]:
    """That header of every request for the images."""
    return [request.headers.get(header) for request in server.requests_for(IMAGES)]
