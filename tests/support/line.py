"""A line to a server on loopback that breaks when a test wants it to."""

import contextlib
import itertools
import socket
import threading
from collections import deque
from typing import Self


class Line:
    """Passes connections on to a port of loopback.

    Attributes:
        breaks: for each of the next connections, bytes of answers after which it breaks; None for never.
        connections: how many there were.
        holds: bytes of a request that does not pass any more, nor does what follows on its connection.
        held: set when there was one.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.breaks: deque[int | None] = deque()
        self.connections = 0
        self.holds: bytes | None = None
        self.held = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        _cut(self._server)
        self.break_all()

    def break_all(self) -> None:
        """Nothing passes any more, on old connections and new ones."""
        self.breaks.extend(itertools.repeat(0, 1000))
        while self._sockets:
            _cut(self._sockets.pop())

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            self.connections += 1
            budget = self.breaks.popleft() if self.breaks else None
            for arguments in ((near, far, None, self.holds), (far, near, budget, None)):
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, budget: int | None, holds: bytes | None
    ) -> None:
        with contextlib.suppress(OSError):
            while budget != 0 and (data := source.recv(min(64 << 10, budget or 64 << 10))):
                if self.held.is_set() or (holds is not None and holds in data):
                    self.held.set()
                    continue
                target.sendall(data)
                if budget is not None:
                    budget -= len(data)
        _cut(source)
        _cut(target)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
