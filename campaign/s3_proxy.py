"""A proxy in front of an S3 server, which does wrong what a rule says.

with S3Proxy(server.port, lambda request: Answer(503, "SlowDown")) as proxy:
save_block(server, url=proxy.url)
"""

import http.client
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in place of the server's.

    Attributes:
        status: of the answer; 0 ends the connection instead, if `done` after half of the server's body.
        code: of S3, such as `SlowDown`.
        done: the server has done what was asked, but its answer is lost.
    """

    status: int
    code: str = ""
    done: bool = False


Rule = Callable[[Asked], Answer | None]


class S3Proxy(ThreadingHTTPServer):
    """Passes requests on from `with` to its end; one after another asks the rule."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, port: int, rule: Rule) -> None:
        self.target, self._rule, self._mutex = port, rule, threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """For the clients."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, asked: Asked) -> Answer | None:
        """Ask the rule."""
        with self._mutex:
            return self._rule(asked)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: S3Proxy

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class calls it so)
        """Quiet."""

    def handle_any(self) -> None:
        """Answer a request of any method."""
        assert "Transfer-Encoding" not in self.headers
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, self.path, self.headers, body)
        answer = self.server.answer(asked)
        if answer is None or answer.done:
            status, headers, content = self._pass_on(asked)
        if answer is None:
            self._send(status, headers, content, len(content))
        elif answer.status:
            error = f"<Error><Code>{answer.code}</Code><Message>campaign</Message></Error>".encode()
            empty = self.command == "HEAD"
            self._send(answer.status, {"Content-Length": str(0 if empty else len(error))}, error, len(error))
        else:
            if answer.done:
                self._send(status, headers, content, len(content) // 2)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def _pass_on(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.server.target)
        try:
            client.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers.items():
                if name.lower() not in {"expect", "connection"}:
                    client.putheader(name, value)
            client.endheaders(asked.body)
            response = client.getresponse()
            content = response.read()
            headers = {name: value for name, value in response.getheaders() if name.lower() != "connection"}
            if "Transfer-Encoding" in headers:
                del headers["Transfer-Encoding"]
                headers["Content-Length"] = str(len(content))
            return response.status, headers, content
        finally:
            client.close()

    def _send(self, status: int, headers: Mapping[str, str], content: bytes, count: int) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:count])
