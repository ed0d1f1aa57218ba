"""What is sent in tests of transfers, and what is looked at."""

import hashlib
import random

from bigearthnet.source.opening import Source
from bigearthnet.source.record import RecordFile
from tests.support.record_server import RecordServer

IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"
CONTENT = random.Random(1).randbytes(1_500_000)
SIZE = len(CONTENT)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()  # noqa: S324


MD5 = md5(CONTENT)


def read_all(source: Source, file: RecordFile, start: int = 0) -> bytes:
    with source.open(file, start) as reader:
        return reader.read()


def sent_headers(server: RecordServer, header: str) -> list[str | None]:
    """That header of every request for the images."""
    return [request.headers.get(header) for request in server.requests_for(IMAGES)]
