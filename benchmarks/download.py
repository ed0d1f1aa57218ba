"""An archive downloaded over one, two and four connections, from a server that gives each of them 2 MB/s.

Blocks are smaller than those of a run, so that it takes 45 seconds, and requests keep no pace.
"""

import hashlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import rmtree
from typing import Final

from bigearthnet.names import IMAGES_ARCHIVE
from bigearthnet.source import parallel
from bigearthnet.source.http import Http
from bigearthnet.source.local import ensure_local
from bigearthnet.source.parallel import Connections
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.work.workspace import Workspace

_BYTES_A_SECOND: Final = 2e6
_FILE_BYTES: Final = 48 << 20
_BLOCK_BYTES: Final = 4 << 20
_SENT_BYTES: Final = 32 << 10


@dataclass(frozen=True, slots=True)
class Download:
    """Seconds that a download took, and CPU seconds for each GB."""

    seconds: float
    cpu: float


def downloads(folder: Path, rounds: int = 1) -> dict[int, Download]:
    """Return what downloads over one, two and four connections take: medians over the rounds."""
    path = folder / "download.bin"
    path.write_bytes(os.urandom(_FILE_BYTES))
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    block_bytes, pace = parallel.BLOCK_BYTES, ZenodoSource.seconds_a_request
    with _server(path) as url:
        parallel.BLOCK_BYTES, ZenodoSource.seconds_a_request = _BLOCK_BYTES, 0  # type: ignore[misc]
        try:
            file = RecordFile(IMAGES_ARCHIVE, _FILE_BYTES, md5, url)
            found = [
                {most: _download(file, folder / "work", most) for most in (1, 2, 4)} for _ in range(rounds)
            ]
        finally:
            parallel.BLOCK_BYTES, ZenodoSource.seconds_a_request = block_bytes, pace  # type: ignore[misc]
    return {
        most: Download(
            statistics.median(one[most].seconds for one in found),
            statistics.median(one[most].cpu for one in found),
        )
        for most in (1, 2, 4)
    }


def _download(file: RecordFile, work: Path, most: int) -> Download:
    rmtree(work, ignore_errors=True)
    began, cpu = time.monotonic(), time.process_time()
    source, connections = ZenodoSource(file.location, Http()), Connections(most, work)
    ensure_local(source, file, Workspace(work), lambda _: None, connections)
    return Download(time.monotonic() - began, (time.process_time() - cpu) / (file.size / 1e9))


@contextmanager
def _server(path: Path) -> Iterator[str]:
    """Serve a file from a process of its own, whose CPU does not count; yields its URL."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "benchmarks.download", str(path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None  # noqa: S101 - both are pipes
        assert server.stdout is not None  # noqa: S101
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/file"
        finally:
            server.stdin.close()  # what it ends with


class _Handler(BaseHTTPRequestHandler):
    """Sends the range of a file that it is asked for, at a rate."""

    def __init__(self, path: Path, *arguments: object) -> None:
        self._path = path
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """Send it."""
        size = self._path.stat().st_size
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(match[1]), int(match[2] or size - 1) + 1) if match else (0, size)
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        began = time.monotonic()
        with self._path.open("rb") as file:
            for position in range(start, stop, _SENT_BYTES):
                file.seek(position)
                self.wfile.write(file.read(min(_SENT_BYTES, stop - position)))
                time.sleep(max(began + (position - start) / _BYTES_A_SECOND - time.monotonic(), 0))


def _serve(path: Path) -> None:
    """Print the port, and serve until the standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, path))
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
