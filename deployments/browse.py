"""Show a dataset in a browser: `bigearthnet browse`, a small server with ranges on 127.0.0.1."""

import re
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import Field

from deployments.settings import HOST

if TYPE_CHECKING:
    from bigearthnet.store import Store, StoredFile

_TYPES: Final = {".html": "text/html; charset=utf-8", ".json": "application/json", ".png": "image/png"}
_IDLE_SECONDS: Final = 60


def browse(source: str, *, port: Annotated[int, Field(ge=0, le=65535)] = 0) -> None:
    """Show a dataset in a browser, until Ctrl-C: any of its patches, by id, class, split, country or tile.

    Args:
        source: Folder, or s3://bucket/prefix with the credentials of your AWS configuration.
        port: Port on 127.0.0.1. 0: any free one.
    """
    from bigearthnet.dataset.layout import PAGE  # noqa: PLC0415 - the help needs no numpy
    from bigearthnet.errors import BigEarthNetError  # noqa: PLC0415

    try:
        server = make_server(source, port)
    except BigEarthNetError as error:
        sys.exit(f"bigearthnet browse: {error}")
    except OSError as error:
        sys.exit(f"bigearthnet browse: cannot use port {port}: {error.strerror}. Choose another --port.")
    with server:
        print(f"Open http://{HOST}:{server.server_port}/{PAGE}. Press Ctrl-C to end.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def make_server(source: str, port: int) -> ThreadingHTTPServer:
    """Open a dataset, and make the server that sends the files which its card names.

    Raises:
        SourceError: there is no dataset, files of it are missing, or it has no page.
        StoreError, TransferError: the store cannot be used.
        OSError: the port cannot be used.
    """
    from bigearthnet.dataset import CARD, require_published  # noqa: PLC0415 - as above
    from bigearthnet.dataset.layout import PAGE  # noqa: PLC0415
    from bigearthnet.errors import SourceError  # noqa: PLC0415
    from tasks.connect import open_store  # noqa: PLC0415

    store = open_store(source, aws_credentials="")
    published, card = require_published(store), store.head(CARD)
    if PAGE not in published.intact or card is None:
        raise SourceError(f"{store.url} has no {PAGE}: an earlier version made it. Prepare it again.")
    handler = partial(_Handler, store, {**published.intact, CARD: card}, PAGE)
    server = ThreadingHTTPServer((HOST, port), handler)
    server.daemon_threads = True
    return server


def byte_range(header: str, size: int) -> range | None:
    """Return the bytes of a file that a Range header asks for; an empty range if none of them is there.

    Returns:
        None for the whole file: without a header, for another unit, several ranges, or a wrong one.

    Source: RFC 9110, section 14.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return range(max(size - int(match[2]), 0), size)
    if match[2] and int(match[2]) < int(match[1]):
        return None
    return range(int(match[1]), min(int(match[2]) + 1, size) if match[2] else size)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def __init__(self, store: "Store", files: Mapping[str, "StoredFile"], page: str, *given: Any) -> None:
        self._store, self._files, self._page = store, files, page
        super().__init__(*given)

    def do_GET(self) -> None:
        """Answer with a file, or a range of it."""
        # A page of another site, under a name that leads to this address, must not read the dataset.
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in (HOST, "localhost"):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return
        name = unquote(urlsplit(self.path).path).removeprefix("/")
        if not name:
            self._refuse(HTTPStatus.FOUND, {"Location": f"/{self._page}"})
        elif name not in self._files:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._send(self._files[name])

    do_HEAD = do_GET  # noqa: N815

    def _send(self, file: "StoredFile") -> None:
        asked = byte_range(self.headers.get("Range", ""), file.size)
        if asked is not None and not asked:
            self._refuse(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{file.size}"}
            )
            return
        sent = range(file.size) if asked is None else asked
        self.send_response(HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT)
        if asked is not None:
            self.send_header("Content-Range", f"bytes {sent.start}-{sent.stop - 1}/{file.size}")
        kind = _TYPES.get(PurePosixPath(file.name).suffix, "application/octet-stream")
        for header, value in (
            ("Content-Length", str(len(sent))),
            ("Content-Type", kind),
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", "no-cache"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            try:
                with self._store.open(file, sent.start, sent.stop) as reader:
                    shutil.copyfileobj(reader, self.wfile)
            except (OSError, ValueError) as error:  # the browser left, or the dataset is another one now
                self.close_connection = True
                if not isinstance(error, BrokenPipeError | ConnectionResetError):
                    print(f"cannot send {file.name}: {error}", file=sys.stderr)

    def _refuse(self, status: HTTPStatus, headers: Mapping[str, str] = {}) -> None:
        self.send_response(status)
        for header, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(header, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing: each picture is a request."""
