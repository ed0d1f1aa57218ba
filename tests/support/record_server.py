"""A Zenodo-like record on loopback, with faults on demand.

It serves the files of a folder as one record, answers ranges as Zenodo does when all is well, keeps a
list of every request, and does wrong what a test asks it to:

    with RecordServer(folder) as server:
        server.faults["BigEarthNet-S2.tar.zst"] = [Fault(break_after=1000), Fault(status=503)]
        ZenodoSource(server.record_url, http).record()
"""

import contextlib
import hashlib
import json
import re
import socket
import ssl
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote, unquote, urlsplit

RECORD = "record"
"""The name under which the record's JSON has its faults and its bytes counted."""

_BLOCK = 64 << 10
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer; those that are given go wrong together."""

    status: int | None = None
    """This status, and `says` as its body."""
    says: bytes = b"this answer is out of order\n"
    retry_after: str | None = None
    """Retry-After of that status; success has one always, as on Zenodo."""
    drop: bool = False
    """The connection ends without an answer."""
    redirect: str | None = None
    """302 to this URL."""
    break_after: int | None = None
    """The connection ends after so many bytes of the body."""
    stall_after: int | None = None
    """After so many bytes of the body nothing comes any more, until the server closes."""
    drip_seconds: float | None = None
    """The body comes byte by byte, with so long between two of them."""
    short: int | None = None
    """The body has only so many bytes, and a Content-Length that says so."""
    extra: int = 0
    """So many bytes too many, in an answer without a Content-Length."""
    unframed: bool = False
    """No Content-Length: the body ends where the connection does."""
    ignore_range: bool = False
    """200 and the whole file, whatever was asked."""
    ignore_if_range: bool = False
    """The range, even of another edition."""
    flip: int | None = None
    """The byte of the file at this offset is wrong."""
    etag: str | None = None
    """This is the file's ETag now."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Headers as they are sent, in place of what they would be; None leaves one out."""


@dataclass
class Request:
    """A request, and how it was answered so far."""

    method: str
    path: str
    name: str
    headers: Message
    status: int = 0
    sent: int = 0
    """Bytes of the body that went out; a client that left may not have got the last of them."""


class RecordServer:
    """Serves the files of `folder` as the record `record_id`, from `with` to its end.

    Attributes:
        faults: for each file name (or `RECORD`) the faults of its next answers, first one first.
        requests: every request, in the order in which they came.
        checksums: what the record says in place of a file's `md5:<hex>`.
        sizes: what the record says in place of a file's size.
        version: of the record; may be changed between two requests.
        latest: URL of the record that it names as its latest version; None for itself.
        names_latest: whether it names one at all.
        limit_bytes_per_second: speed of each body, None for no limit.
        stalled: set as soon as an answer stalls.
    """

    def __init__(
        self,
        folder: Path,
        record_id: str = "10891137",
        version: str = "2.0.0",
        *,
        title: str = "BigEarthNet v2.0 (test data)",
        limit_bytes_per_second: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.folder = folder
        self.record_id = record_id
        self.version = version
        self.latest: str | None = None
        self.names_latest = True
        self.title = title
        self.limit_bytes_per_second = limit_bytes_per_second
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.requests: list[Request] = []
        self.checksums: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.stalled = threading.Event()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._md5s: dict[tuple[str, int, int], str] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every answer that is under way, and listen no more."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut_all()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def record_url(self) -> str:
        return f"{self.url}/api/records/{self.record_id}"

    def file_url(self, name: str) -> str:
        return f"{self.url}/records/{self.record_id}/files/{quote(name)}"

    def requests_for(self, name: str) -> list[Request]:
        with self._lock:
            return [request for request in self.requests if request.name == name]

    def bytes_sent(self, name: str) -> int:
        """Bytes of the file's body in all answers together."""
        return sum(request.sent for request in self.requests_for(name))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    def md5(self, name: str) -> str:
        """The file's md5, hashed anew when the file has changed."""
        path = self.folder / name
        key = (name, path.stat().st_size, path.stat().st_mtime_ns)
        if key not in self._md5s:
            with path.open("rb") as file:
                self._md5s[key] = hashlib.file_digest(file, "md5").hexdigest()
        return self._md5s[key]

    def document(self) -> bytes:
        """The record's JSON."""
        files = [
            {
                "id": f"file-{name}",
                "key": name,
                "size": self.sizes.get(name, (self.folder / name).stat().st_size),
                "checksum": self.checksums.get(name, f"md5:{self.md5(name)}"),
                "links": {"self": self.file_url(name)},
            }
            for name in self.names()
        ]
        latest = self.latest or f"{self.record_url}/versions/latest"
        record = {
            "id": int(self.record_id),
            "conceptrecid": str(int(self.record_id) - 1),
            "metadata": {"title": self.title, "version": self.version},
            "links": {"self": self.record_url} | ({"latest": latest} if self.names_latest else {}),
            "files": files,
        }
        return json.dumps(record).encode()

    def begin_request(self, request: Request) -> Fault:
        """Note a request; returns what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            queue = self.faults.get(request.name)
            return queue.pop(0) if queue else Fault()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: RecordServer

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        with self._connections_lock:
            for connection in self._connections:
                _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is nothing to tell of."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; together they would wait 40 ms
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class calls it so)
        """Quiet: `requests` has it all."""

    def do_GET(self) -> None:
        owner = self.server.owner
        path = unquote(urlsplit(self.path).path)
        name = self._name(path)
        request = Request(self.command, self.path, name, self.headers)
        fault = owner.begin_request(request)
        if fault.drop:
            self._cut()
        elif fault.status is not None:
            self._send(request, fault, fault.status, _Body(fault.says), {})
        elif fault.redirect is not None:
            self._send(request, fault, 302, _Body(b""), {"Location": fault.redirect})
        elif name == RECORD:
            self._send(request, fault, 200, _Body(owner.document()), {"Content-Type": "application/json"})
        elif name in owner.names():
            self._send_file(request, fault, name)
        else:
            self._send(request, fault, 404, _Body(b"no such file or record\n"), {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_CONNECT(self) -> None:
        """As a proxy that lets nobody through."""
        request = Request(self.command, self.path, self.path, self.headers)
        self.server.owner.begin_request(request)
        self._send(request, Fault(), 407, _Body(b""), {})

    def _name(self, path: str) -> str:
        record_id = self.server.owner.record_id
        if path in (f"/api/records/{record_id}", f"/api/records/{record_id}/versions/latest"):
            return RECORD
        for prefix in (f"/records/{record_id}/files/", f"/api/records/{record_id}/files/"):
            if path.startswith(prefix):
                return path.removeprefix(prefix).removesuffix("/content")
        return path

    def _send_file(self, request: Request, fault: Fault, name: str) -> None:
        owner = self.server.owner
        path = owner.folder / name
        size = path.stat().st_size
        etag = fault.etag or f'"md5:{owner.md5(name)}"'
        headers = {"ETag": etag, "Content-Type": "application/octet-stream"}
        start, end = 0, size
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        condition = self.headers.get("If-Range", etag)
        status = 200
        if match and not fault.ignore_range and (condition == etag or fault.ignore_if_range):
            start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
            if start >= end:
                headers["Content-Range"] = f"bytes */{size}"
                return self._send(request, fault, 416, _Body(b""), headers)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        with path.open("rb") as file:
            self._send(request, fault, status, _FileBody(file, start, end, fault.flip), headers)
        return None

    def _send(
        self, request: Request, fault: Fault, status: int, body: "_Body", headers: dict[str, str]
    ) -> None:
        length = body.length if fault.short is None else min(fault.short, body.length)
        unframed = fault.unframed or fault.extra > 0
        all_headers: dict[str, str | None] = {
            "Content-Length": None if unframed else str(length),
            "Retry-After": "59" if fault.status is None else fault.retry_after,
            "Connection": "close" if unframed else None,
            **headers,
            **fault.headers,
        }
        request.status = status
        self.send_response(status)
        for key, value in all_headers.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        self.wfile.flush()
        if self.command == "HEAD":
            return
        stops = [stop for stop in (fault.break_after, fault.stall_after) if stop is not None]
        for block in body.blocks(min([length, *stops])):
            for byte in block if fault.drip_seconds else ():
                self.wfile.write(bytes([byte]))
                self.server.owner.closing.wait(fault.drip_seconds)
            self.wfile.write(block)
            request.sent += len(block)
            if self.server.owner.limit_bytes_per_second:
                self.server.owner.closing.wait(len(block) / self.server.owner.limit_bytes_per_second)
        if fault.stall_after is not None:
            self.server.owner.stalled.set()
            self.server.owner.closing.wait()
        if stops:
            self._cut()
        elif fault.extra:
            self.wfile.write(b"\0" * fault.extra)

    def _cut(self) -> None:
        self.close_connection = True
        _cut(self.connection)


class _Body:
    """The bytes of an answer's body."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def blocks(self, count: int) -> Iterator[bytes]:
        """The first `count` bytes."""
        for start in range(0, count, _BLOCK):
            yield self._content[start : min(start + _BLOCK, count)]


class _FileBody(_Body):
    """A range of a file, with a wrong byte if need be."""

    def __init__(self, file: BinaryIO, start: int, end: int, flip: int | None) -> None:
        self._file = file
        self._start = start
        self._flip = flip
        self.length = end - start

    def blocks(self, count: int) -> Iterator[bytes]:
        position, end = self._start, self._start + count
        self._file.seek(position)
        while position < end:
            block = bytearray(self._file.read(min(_BLOCK, end - position)))
            if not block:  # the file became shorter while it was served
                return
            if self._flip is not None and position <= self._flip < position + len(block):
                block[self._flip - position] ^= 0xFF
            yield bytes(block)
            position += len(block)


def _cut(connection: socket.socket) -> None:
    """End a connection at once, after the bytes that were written."""
    with contextlib.suppress(OSError):  # the client may be faster
        connection.shutdown(socket.SHUT_RDWR)
