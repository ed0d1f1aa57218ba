"""The parsers of what servers answer: S3, by botocore, and records and files over HTTP."""

import socketserver
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import boto3
from botocore.config import Config

from bigearthnet.source.http import Http
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import Range, StoredFile
from bigearthnet.store.base import Piece
from bigearthnet.store.s3 import S3Store
from bigearthnet.store.s3.lock import lock_prefix
from bigearthnet.store.s3.lock_owner import LockOwner
from bigearthnet.store.s3.prefix import Prefix
from bigearthnet.store.s3.upload import abort_other_uploads
from fuzz.run import Target

_BETWEEN: Final = b"\n--\n"
"""Between the answers of an input, whose first line says what is asked for. The last answer is repeated."""
_ETAG: Final = '"0123"'
_DATE: Final = "Fri, 27 Nov 2026 05:00:00 GMT"
_LOCAL: Final = Path(__file__).with_name("__init__.py")
_FILE: Final = StoredFile("file", 5, _ETAG)


class _Server(socketserver.ThreadingTCPServer):
    """Sends `answers`, as they are, one a connection."""

    daemon_threads = True
    answers: tuple[bytes, ...] = ()

    def next(self) -> bytes:
        """Return the next answer."""
        answer, *others = self.answers
        self.answers = tuple(others) or (answer,)
        return answer


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        size = 0
        while (line := self.rfile.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                size = int(line[15:])
            if line == b"expect: 100-continue":
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.rfile.read(size)  # or the answer would be lost with the connection
        self.wfile.write(self.server.next())


@lru_cache(maxsize=1)
def _server() -> _Server:
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def s3(_: Path) -> Target:
    """Answers of an S3 server."""
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{_server().server_address[1]}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",  # noqa: S106
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, read_timeout=5),
    )

    def parse(data: bytes) -> None:
        name, _, content = data.partition(b"\n")
        names = sorted(_S3)
        asked = name.decode(errors="replace")
        prefix = Prefix(client, "bucket", "data")
        prefix._is_ours = prefix._bucket_exists = True  # each is a request of its own
        store = S3Store(client, "bucket", "data")
        store._prefix = prefix
        _server().answers = tuple(content.split(_BETWEEN))
        _S3[asked if asked in _S3 else names[crc32(name) % len(names)]](store, prefix)

    return Target([_input(name, *answers) for name, answers in _S3_SEEDS.items()], parse)


def http(_: Path) -> Target:
    """Answers of a record's server: its JSON, and a file."""
    url = f"http://127.0.0.1:{_server().server_address[1]}"
    source = ZenodoSource(url, Http(stall_seconds=5, sleep=lambda _: None))

    def parse(data: bytes) -> None:
        name, _, content = data.partition(b"\n")
        _server().answers = tuple(content.split(_BETWEEN))
        if name == b"document":
            source.http.document(url)
        else:
            source.open(RecordFile("metadata.parquet", 5, None, url), 2).readall()

    ranged = _answer(b"345", status="206 P", Content_Range="bytes 2-4/5")
    whole, moved = _answer(b"12345"), _answer(status="302 F", Location="/other")
    refused = _answer(b"<p>no</p>", status="503 S", Retry_After="5")
    seeds: list[tuple[str, *tuple[bytes, ...]]] = [
        ("document", refused, moved, whole),
        ("file", ranged),
        ("file", refused, whole),
    ]
    return Target([_input(name, *answers) for name, *answers in seeds], parse)


SERVERS: Final = (s3, http)


def _read(store: S3Store, _: Prefix) -> None:
    reader = store.open(_FILE)
    reader._sleep = lambda _: None  # no parser waits
    reader.readall()


def _stage(store: S3Store, piece: Piece) -> None:
    with store.stage("file", [piece], "0" * 64) as staged:
        staged.commit()


def _lock(_: S3Store, prefix: Prefix) -> None:
    with lock_prefix(prefix, "a run") as lock:
        lock.check()


_S3: Final[Mapping[str, Callable[[S3Store, Prefix], Any]]] = {
    "list": lambda store, _: list(store.list()),
    "digest": lambda store, _: store.digest(_FILE),
    "get": lambda _, prefix: prefix.get(".lock"),
    "read": _read,
    "write": lambda store, _: store.write("file", b"12345"),
    "upload": lambda store, _: _stage(store, _LOCAL),
    "copy": lambda store, _: _stage(store, Range(_FILE, 0, 5 << 20)),
    "resume": lambda store, _: store.resume("file", 1 << 24, "version").position,
    "delete": lambda store, _: store.delete(["a", "b"]),
    "uploads": lambda _, prefix: abort_other_uploads(prefix, ["2"]),
    "region": lambda store, _: store.region(),
    "lock": _lock,
}


def _answer(body: bytes = b"", status: str = "200 OK", **headers: Any) -> bytes:
    lines = {"Content_Length": len(body), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def _xml(kind: str, content: str, status: str = "200 OK") -> bytes:
    namespace = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return _answer(f"<?xml version='1.0'?><{kind}{namespace}>{content}</{kind}>".encode(), status)


def _input(name: str, *answers: bytes) -> bytes:
    return f"{name}\n".encode() + _BETWEEN.join(answers)


def _object(body: bytes, **headers: Any) -> bytes:
    return _answer(body, ETag=_ETAG, Last_Modified=_DATE, Date=_DATE, **headers)


_CONTENTS: Final = (
    "<Contents><Key>data/a</Key><LastModified>2026-11-27T05:00:00.000Z</LastModified><ETag>&quot;1&quot;</ETag>"
    "<Size>5</Size></Contents>"
)
_NEXT: Final = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
_HEAD: Final = _answer(ETag=_ETAG, Content_Length=5, x_amz_meta_sha256="0" * 64)
_NOTE: Final = b'{"upload":"1","size":16777216,"version":"version"}'
_PARTS: Final = "".join(
    f"<Part><PartNumber>{i}</PartNumber><ETag>e</ETag><Size>8388608</Size></Part>" for i in (1, 2)
)
_BEGUN: Final = _xml("InitiateMultipartUploadResult", "<UploadId>1</UploadId>")
_COMPLETED: Final = _xml("CompleteMultipartUploadResult", "<ETag>e</ETag>")
_UPLOAD: Final = "<Upload><Key>data/a</Key><UploadId>1</UploadId></Upload>"
_OWNER: Final = LockOwner(name="run a (process 5 on b)", id="0" * 32, machine="b", process=5, started="7")
_S3_SEEDS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "lock": (_object(_OWNER.model_dump_json().encode()), _answer(ETag=_ETAG)),
    "list": (_xml("ListBucketResult", _CONTENTS + _NEXT), _xml("ListBucketResult", _CONTENTS)),
    "digest": (_HEAD,),
    "get": (_object(b'{"name":"a"}'),),
    "read": (_object(b"12345", Content_Range="bytes 0-4/5").replace(b"200 OK", b"206 P"),),
    "write": (_answer(ETag=_ETAG),),
    "upload": (
        _BEGUN,
        _answer(ETag=_ETAG, x_amz_checksum_crc32="AAAAAA=="),
        _COMPLETED,
        _answer(ETag=_ETAG, Content_Length=_LOCAL.stat().st_size, x_amz_meta_sha256="0" * 64),
    ),
    "copy": (
        _BEGUN,
        _xml("CopyPartResult", "<ETag>e</ETag>"),
        _COMPLETED,
        _answer(ETag=_ETAG, Content_Length=5 << 20, x_amz_meta_sha256="0" * 64),
    ),
    "resume": (_object(_NOTE), _xml("ListPartsResult", _PARTS)),
    "delete": (_xml("DeleteResult", ""),),
    "uploads": (
        _xml("ListMultipartUploadsResult", _UPLOAD),
        _answer(status="204 No Content"),
    ),
    "region": (_xml("Error", "<Code>AccessDenied</Code><Message>No</Message>", "403 Forbidden"),),
}
