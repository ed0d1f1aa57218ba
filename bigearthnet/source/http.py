"""HTTP requests: proxies, retries, redirects, and files that are opened at a byte.

A request that fails for a passing reason is repeated here; a body that breaks off is resumed by
`ResumingReader`.
Versions are not compared: every file that is read over HTTP has an md5 to be checked in the end.
"""

import html
import logging
import os
import re
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urljoin

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, LocationValueError, ProxySchemeUnknown
from urllib3.util import make_headers, parse_url

from bigearthnet import __version__
from bigearthnet.errors import ChangedError, SourceError, TransferError, plain
from bigearthnet.source.record import DOCUMENT_BYTES, RecordFile
from bigearthnet.store.reader import TRIES, LimitedError, Opened, backoff_seconds

PROJECT_URL: Final = "https://github.com/bigearthnet-prefect/bigearthnet-prefect"
USER_AGENT: Final = f"bigearthnet-prefect/{__version__} (+{PROJECT_URL})"
"""Zenodo slows down the default user agents of HTTP libraries."""

_DOCUMENT_SECONDS: Final = 120.0
_SUCCESS: Final = {200, 206, 416}
_LIMITS: Final = {403, 429}
_PASSING: Final = {408, 429, *range(500, 600)}
_FORBIDDEN: Final = 403
"""Zenodo sends it to guests of a network that has asked for too much."""
_RETRY_AFTER_LIMIT_SECONDS: Final = 600
_PROXY_WANTS_LOGIN: Final = 407
_PROXY_REFUSES: Final = re.compile(r"Tunnel connection failed: (4(?!08|29)\d\d[^'\"]*)")
_PROXY_ADVICE: Final = (
    "Set HTTPS_PROXY and HTTP_PROXY to http://user:password@host:port, or add the host to NO_PROXY."
)
_REDIRECTS: Final = 5
_CONNECT_SECONDS: Final = 20
_BLOCK_BYTES: Final = 256 << 10
_CONTENT_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18})")

T = TypeVar("T")
logger = logging.getLogger(__name__)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # its lines hold URLs


@dataclass(frozen=True, slots=True)
class Http:
    """Makes requests. Uses HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE."""

    stall_seconds: float = 60  # longest time without a byte
    sleep: Callable[[float], None] = time.sleep

    def document(self, url: str) -> bytes:
        """Read a small document.

        Raises:
            TransferError: the server did not answer, or not to the end.
            SourceError: the server refused the request, or the document has more than 2 MiB.
        """
        name = safe_url(url)

        def read() -> bytes:
            document, began = b"", time.monotonic()
            with self._get(url, name) as response:
                while block := response.read1(_BLOCK_BYTES, decode_content=False):
                    document += block
                    if len(document) > DOCUMENT_BYTES:
                        raise SourceError(f"{name} has more than 2 MiB, so it is not a record. Choose one.")
                    if time.monotonic() - began > _DOCUMENT_SECONDS:
                        raise HTTPError(f"only {len(document):,} bytes in {_DOCUMENT_SECONDS:.0f} s")
                return document

        return self._retry(read, name)

    def open_at(self, file: RecordFile, stop: int | None, others: bool, start: int) -> Opened:
        """Open a file at a byte, see `OpenAt`; the server is asked for the bytes up to `stop`, or for all.

        With `others`, which read the file at the same time, LimitedError is raised for 403 and 429, and for
        the whole file in answer to a range.
        """
        name = f"{file.name} from {safe_url(file.location)}"

        def open_once() -> Opened:
            with ExitStack() as on_error:
                try:
                    response = on_error.enter_context(self._get(file.location, name, start, stop))
                except _UnavailableError as error:
                    if others and error.status in _LIMITS:
                        raise LimitedError(str(error), sends_whole_files=False) from None
                    raise
                begins = _first_byte(response, file, start)
                if others and begins != start:
                    answer = "the server sent the whole file instead of a range"
                    raise LimitedError(answer, sends_whole_files=True)
                on_error.pop_all()
            return Opened(_ResponseBody(response), begins)

        return self._retry(open_once, name)

    def _retry(self, act: Callable[[], T], name: str) -> T:
        """Return what `act` returns; it is tried again when its request fails for a passing reason."""
        failures = 0
        while True:
            try:
                return act()
            except ProxySchemeUnknown:  # urllib3's own messages can hold a URL with a token
                raise SourceError(
                    f"cannot read {name}: only http and https proxies are supported. Set HTTPS_PROXY to one "
                    "of them, or add the host to NO_PROXY."
                ) from None
            except LocationValueError:
                raise SourceError(f"{name} is not a valid http or https URL. Correct it.") from None
            except HTTPError as error:
                failures += 1
                reason = _reason(error)
                if "CERTIFICATE_VERIFY_FAILED" in repr(error):  # would not pass
                    raise SourceError(
                        f"cannot read {name}: the certificate of the server is not valid ({reason}). If a "
                        "proxy of your network signs connections, set SSL_CERT_FILE to its certificate."
                    ) from error
                if refused := _PROXY_REFUSES.search(repr(error)):
                    raise SourceError(
                        f"cannot read {name}: the proxy answered {refused[1]}. {_PROXY_ADVICE}"
                    ) from None
                if failures == TRIES:
                    raise TransferError(f"cannot read {name}: {reason}. Try again later.") from error
                stated = error.retry_after if isinstance(error, _UnavailableError) else 0
                seconds = stated or backoff_seconds(failures)
            logger.warning("%s: %s; trying again in %.0f s", name, reason, seconds)
            self.sleep(seconds)

    def _get(
        self, url: str, name: str, start: int = 0, stop: int | None = None, redirects: int = _REDIRECTS
    ) -> BaseHTTPResponse:
        """Return an answer that is a success; redirects are followed on the same host.

        Raises:
            HTTPError: (of urllib3) there is no answer, or one that will pass.
            SourceError: the server refused the request.
        """
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        if start or stop:
            headers["Range"] = f"bytes={start}-{stop - 1 if stop else ''}"
        response = self._pool(url).request(
            "GET", url, headers=headers, redirect=False, retries=False, preload_content=False
        )
        if response.status in _SUCCESS:
            return response
        with response:
            location = response.get_redirect_location()
            if not location or not redirects:
                raise _refusal(response, name, start)
        target = urljoin(url, location)
        require_same_host(url, target, name)
        return self._get(target, name, start, stop, redirects - 1)

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return connections for a URL: direct ones, or those of its proxy."""
        target, proxies = parse_url(url), urllib.request.getproxies()
        proxy = proxies.get(target.scheme or "", proxies.get("all"))
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=self.stall_seconds)
        if not proxy or urllib.request.proxy_bypass(f"{target.host}:{target.port or ''}"):
            return urllib3.PoolManager(timeout=timeout, **_trusted())
        found = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        headers = make_headers(proxy_basic_auth=unquote(found.auth) if found.auth else None)
        return urllib3.ProxyManager(found.url, proxy_headers=headers, timeout=timeout, **_trusted())


@dataclass(frozen=True, slots=True)
class _ResponseBody:
    """The body of a response; a `Body` for `ResumingReader`."""

    response: BaseHTTPResponse

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what has arrived; read1, as read(n) would lose it when the connection breaks before n."""
        try:
            data = self.response.read1(min(len(buffer), _BLOCK_BYTES), decode_content=False) or b""
        except HTTPError as error:
            raise TransferError(f"the connection broke: {_reason(error)}") from error
        buffer[: len(data)] = data
        return len(data)

    def interrupt(self) -> None:
        """Let a read that waits in another thread end."""
        with suppress(OSError, RuntimeError, ValueError):  # it has ended already
            self.response.shutdown()

    def close(self) -> None:
        """Close the connection."""
        self.response.close()


class _UnavailableError(HTTPError):
    """The server cannot answer now, but in `retry_after` seconds (0 if it does not say so)."""

    def __init__(self, answer: str, status: int, retry_after: float) -> None:
        super().__init__(answer)
        self.status = status
        self.retry_after = retry_after


def _trusted() -> dict[str, Any]:
    """Return where the certificates to trust are, as urllib3 takes it; pip and boto3 heed the same variable.

    Without it, OpenSSL's own are used. SSL_CERT_FILE, which OpenSSL heeds by itself, goes before it.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if not bundle or os.environ.get("SSL_CERT_FILE"):
        return {}
    return {"ca_cert_dir" if Path(bundle).is_dir() else "ca_certs": bundle}


def safe_url(url: str) -> str:
    """Remove what can hold a secret from a URL: user, query and fragment.

    A password with one of / ? # ends the host for whoever reads the URL. So what looks like a port, but is
    none, is removed with all that follows.
    """
    url = re.sub(r"//[^?#]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
    return re.sub(r"(//[^/:\[]*):(?![0-9]*(?:/|$)).*", r"\1", url, flags=re.DOTALL)


def require_same_host(url: str, target: str, name: str) -> None:
    """Make sure that a link in what was read from `url` stays on its host, and is not less safe.

    Raises:
        SourceError: it leads elsewhere, or is not a URL; the message begins with `name`.
    """
    here = parse_url(url)
    with suppress(LocationValueError):
        there = parse_url(target)
        if there.host == here.host and there.scheme in {"https", here.scheme}:
            return
    raise SourceError(
        f"{name} leads to {plain(safe_url(target))}, which is not on {here.scheme}://{here.host}. Only links "
        "on the same host are followed. Choose a record whose files are on its own host."
    )


def _refusal(response: BaseHTTPResponse, name: str, start: int) -> _UnavailableError | SourceError:
    """Return the error for an answer that is no success, with the server's words."""
    text = ""
    with suppress(HTTPError):
        text = response.read(4096, decode_content=False).decode(errors="replace")
    text = html.unescape(re.sub(r"(?is)<(script|style|title).*?</\1>|<[^>]*>", " ", text))
    words = " ".join(word for word in text.split() if word.isprintable())
    said = f' ("{words[:300]}")' if words else ""
    answer = f"the server answered {response.status}{said}"
    is_forbidden = response.status == _FORBIDDEN
    if response.status in _PASSING or (is_forbidden and start):  # in the middle of a file it is a limit
        return _UnavailableError(answer, response.status, _retry_after(response))
    advice = "Check that the source is written as on Zenodo and open to everyone."
    if is_forbidden:
        advice = (
            "Zenodo does so when too much is read from one network: wait an hour, or use another network. "
            "Files that are not open to everyone cannot be used."
        )
    if response.status == _PROXY_WANTS_LOGIN:
        advice = _PROXY_ADVICE
    return SourceError(f"cannot read {name}: {answer}. {advice}")


def _retry_after(response: BaseHTTPResponse) -> float:
    """Return the seconds that the server asks to wait, at most ten minutes; 0 if it does not."""
    with suppress(HTTPError, ValueError, OverflowError):  # a header that is no number or date
        return urllib3.Retry(retry_after_max=_RETRY_AFTER_LIMIT_SECONDS).get_retry_after(response) or 0
    return 0


def _first_byte(response: BaseHTTPResponse, file: RecordFile, start: int) -> int:
    """Return the byte that the body begins with: `start`, or 0 as Zenodo sometimes sends the whole file.

    Raises:
        ChangedError: the file has another size than the record says.
        TransferError: the server sends another range than the one from `start` on.
    """
    begins, size = 0, response.length_remaining
    if response.status != 200:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1] or start) != start:
            raise TransferError(f"the server sent another range of {file.name} than asked for. Run again.")
        begins, size = start, int(match[2])
    if size not in {None, file.size}:
        raise ChangedError(
            f"{file.name} has {file.size:,} bytes in the record, but {size:,} on the server. Run again."
        )
    return begins


def _reason(error: HTTPError) -> str:
    """Return the first part of what urllib3 says; the rest repeats it, or holds the URL."""
    return str(error.args[0]) if error.args else repr(error)
