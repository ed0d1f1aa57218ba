"""A Zenodo-like record on loopback, with faults on demand.

It serves the files of a folder as one record, answers ranges as Zenodo does when all is well, keeps a list
of every request, and does wrong what a test asks it to:

    with RecordServer(folder) as server:
        server.faults["BigEarthNet-S2.tar.zst"] = [Fault(break_after=1000), Fault(status=503)]
        ZenodoSource(server.record_url, http).record()
"""

import hashlib
import json
import math
import re
import ssl
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

RECORD = "record"
"""The name under which the record's JSON has its faults and its bytes counted."""

_BLOCK = 64 << 10
_CHECKED = 256 << 10  # bytes that a check asks for


@dataclass(frozen=True)
class Fault:
    """One answer that goes wrong; all that is given goes wrong together."""

    status: int | None = None
    """This status, and `says` as its body."""
    says: bytes = b"this answer is out of order\n"
    retry_after: str | None = None
    drop: bool = False
    """The connection ends without an answer."""
    redirect: str | None = None
    """302 to this URL."""
    break_after: int | None = None
    """The connection ends after so many bytes of the body."""
    stall_after: int | None = None
    """After so many bytes of the body nothing comes any more, until the server closes."""
    drip_seconds: float = 0
    """The body comes byte by byte, with so long between two of them."""
    ignore_range: bool = False
    """200 and the whole file, whatever was asked."""
    flip: int | None = None
    """The byte of the file at this offset is wrong."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Headers in place of what they would be; None leaves one out."""


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


class RecordServer(ThreadingHTTPServer):
    """Serves the files of `folder` as the record `record_id`, from `with` to its end.

    Attributes:
        faults: for each file name (or `RECORD`) the faults of its next answers, first one first.
        faults_at: the same for answers that begin at a byte of a file, which go before.
        requests: every request, in the order in which they came.
        checksums: checksum in the record of a file, in place of `md5:<hex>`.
        sizes: size in the record of a file, in place of its own.
        version: of the record; may be changed between two requests.
        latest: URL of the record that it names as its latest version: a path for itself, "" for none.
        first_bytes: names of the files whose first bytes alone were asked for, as a check does; no faults.
        stalled: set as soon as an answer stalls.
        bytes_a_second: rate of each answer.
    """

    def __init__(
        self,
        folder: Path,
        record_id: str = "10891137",
        version: str = "2.0.0",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.folder, self.record_id, self.version = folder, record_id, version
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.faults_at: dict[tuple[str, int], list[Fault]] = {}
        self.requests: list[Request] = []
        self.first_bytes: list[str] = []
        self.checksums: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.stalled = threading.Event()
        self.bytes_a_second = math.inf
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        self.record_url = f"{self.url}/api/records/{record_id}"
        self.latest = f"{self.record_url}/versions/latest"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may leave."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)

    def file_url(self, name: str) -> str:
        return f"{self.record_url}/files/{quote(name)}/content"

    def requests_for(self, name: str) -> list[Request]:
        return [request for request in self.requests if request.name == name]

    def bytes_sent(self, name: str) -> int:
        """Bytes of the file's body in all answers together."""
        return sum(request.sent for request in self.requests_for(name))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    def md5(self, name: str) -> str:
        with (self.folder / name).open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()

    def document(self) -> bytes:
        """The record's JSON."""
        record = {
            "id": int(self.record_id),
            "metadata": {"title": "BigEarthNet v2.0 (test data)", "version": self.version},
            "links": {"latest": self.latest} if self.latest else {},
            "files": [
                {
                    "key": name,
                    "size": self.sizes.get(name, (self.folder / name).stat().st_size),
                    "checksum": self.checksums.get(name, f"md5:{self.md5(name)}"),
                    "links": {"self": self.file_url(name)},
                }
                for name in self.names()
            ],
        }
        return json.dumps(record).encode()


def _first_byte(asked: str | None) -> int:
    match = re.match(r"bytes=(\d+)-", asked or "")
    return int(match[1]) if match else 0


class _Handler(BaseHTTPRequestHandler):
    """Answers by HTTP/1.0: each connection ends with its answer."""

    disable_nagle_algorithm = True  # headers and body are two writes; together they would wait 40 ms
    server: RecordServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class calls it so)
        """Quiet: `requests` has it all."""

    def do_GET(self) -> None:
        owner, path = self.server, unquote(urlsplit(self.path).path)
        place = path.removeprefix(f"/api/records/{owner.record_id}")
        name = RECORD if place in ("", "/versions/latest") else path
        if match := re.fullmatch("/files/(.+)/content", place):
            name = match[1]
        request = Request(self.command, self.path, name, self.headers)
        first = re.fullmatch(r"bytes=0-(\d+)", self.headers.get("Range", ""))
        if first and int(first[1]) < _CHECKED:
            owner.first_bytes.append(name)
            self._send_file(request, Fault(), owner.folder / name)
            return
        owner.requests.append(request)
        faults = owner.faults_at.get((name, _first_byte(self.headers.get("Range")))) or owner.faults[name]
        fault = faults.pop(0) if faults else Fault()
        if fault.drop:
            return
        if fault.status is not None:
            self._send(request, fault, fault.status, fault.says, {"Retry-After": fault.retry_after})
        elif fault.redirect is not None:
            self._send(request, fault, 302, b"", {"Location": fault.redirect})
        elif name == RECORD:
            self._send(request, fault, 200, owner.document(), {})
        elif name in owner.names():
            self._send_file(request, fault, owner.folder / name)
        else:
            self._send(request, fault, 404, b"no such file or record\n", {})

    def do_CONNECT(self) -> None:
        """As a proxy that lets nobody through."""
        self.server.requests.append(Request(self.command, self.path, self.path, self.headers))
        faults = self.server.faults[self.path]
        self.send_error((faults.pop(0).status if faults else None) or 407)

    def _send_file(self, request: Request, fault: Fault, path: Path) -> None:
        size = path.stat().st_size
        start, stop, status, headers = 0, size, 200, dict[str, str | None]()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match and not fault.ignore_range:
            start = int(match[1])
            stop = min(int(match[2] or size), size - 1) + 1
            if start >= size:
                return self._send(request, fault, 416, b"", {"Content-Range": f"bytes */{size}"})
            status, headers = 206, {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        with path.open("rb") as file:
            file.seek(start)
            content = bytearray(file.read(stop - start))
        if fault.flip is not None and start <= fault.flip < stop:
            content[fault.flip - start] ^= 0xFF
        return self._send(request, fault, status, content, headers)

    def _send(
        self, request: Request, fault: Fault, status: int, body: bytes, headers: Mapping[str, str | None]
    ) -> None:
        request.status = status
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers, **fault.headers}.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        ends = [end for end in (fault.break_after, fault.stall_after) if end is not None]
        sent = body[: min(ends, default=len(body))]
        size = 1 if fault.drip_seconds else _BLOCK
        for start in range(0, len(sent), size):
            self.wfile.write(sent[start : start + size])
            request.sent += len(sent[start : start + size])
            self.server.closing.wait(fault.drip_seconds + size / self.server.bytes_a_second)
        if fault.stall_after is not None:
            self.server.stalled.set()
            self.server.closing.wait()
