"""HTTP requests: proxies, retries and redirects, and files that are opened at a byte.

A request that fails for a passing reason is retried by urllib3, a body that breaks off by `ResumingReader`.
Rules: RFC 9110, sections 8.8 (validators), 10.2.3 (Retry-After), 13.1.5 (If-Range) and 14 (ranges). Zenodo
sends `Retry-After` with success, too, and sometimes the whole file in answer to a range.
"""

import html
import logging
import re
import ssl
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self
from urllib.parse import unquote, urljoin

import urllib3
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    LocationValueError,
    MaxRetryError,
    ProtocolError,
    ProxySchemeUnknown,
)
from urllib3.util import make_headers, parse_url

from bigearthnet import __version__
from bigearthnet.errors import ChangedError, SourceError, TransferError
from bigearthnet.source.record import RecordFile
from bigearthnet.store.reader import BACKOFF_LIMIT_SECONDS, TRIES, Opened

PROJECT_URL: Final = "https://github.com/bigearthnet-prefect/bigearthnet-prefect"
USER_AGENT: Final = f"bigearthnet-prefect/{__version__} (+{PROJECT_URL})"
"""Zenodo slows down the default user agents of HTTP libraries."""
RETRY_AFTER_LIMIT_SECONDS: Final = 600
DOCUMENT_LIMIT_BYTES: Final = 16 << 20
SLOWEST_BYTES_PER_SECOND: Final = 1 << 10

_RETRIED: Final = frozenset({408, 429, *range(500, 600)})
_BLOCK_BYTES: Final = 256 << 10
_REDIRECTS: Final = 5
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")

logger = logging.getLogger(__name__)


class Http:
    """Makes requests. Uses HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    Args:
        connect_seconds: longest time to connect.
        stall_seconds: longest time without a byte, and the time in which the lowest speed is measured.
        tries: of a request, in a row.
        sleep: waits that many seconds.
        clock: seconds from any beginning.
    """

    def __init__(
        self,
        *,
        connect_seconds: float = 20,
        stall_seconds: float = 60,
        tries: int = TRIES,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sleep = sleep
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=stall_seconds)
        self._stall_seconds = stall_seconds
        self._tries = tries
        self._clock = clock
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        logging.getLogger("urllib3.connectionpool").addFilter(_without_urls)

    def document(self, url: str) -> bytes:
        """Read a small document.

        Raises:
            TransferError: the server did not answer, or not to the end.
            SourceError: the server refused the request, or the document has more than 16 MiB.
        """
        name = safe_url(url)
        retries = self._retries(name, _RETRIED)
        while True:
            response = self._request(url, {}, retries)
            with response:
                _require_success(response, name, passing=False)
                try:
                    return self._read_document(response, name)
                except TransferError as error:
                    with _translated(name):
                        # The same count as for the request: urllib3 does not retry bodies.
                        retries = (response.retries or retries).increment(
                            "GET", url, error=ProtocolError(str(error))
                        )
                    retries.sleep()

    def open_at(self, file: RecordFile, start: int, validator: str | None) -> Opened:
        """Open a file at a byte, see `OpenAt`.

        Zenodo's 403 is a limit for guests: after a file has begun, it is waited for.

        Raises:
            TransferError: the server did not answer.
            ChangedError: the file is another version now, or has another size than the record says.
            SourceError: the server refused the request.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and validator:
            headers["If-Range"] = validator
        name = f"{file.name} from {safe_url(file.location)}"
        retried = {*_RETRIED, 403} if start else _RETRIED
        response = self._request(file.location, headers, self._retries(name, retried))
        try:
            _require_success(response, name, passing=start > 0)
            found = _validator(response.headers)
            if start and validator and _changed(response.headers, validator):
                raise ChangedError(
                    f"{file.name} changed on the server at byte {start:,}: it was {validator} and is "
                    f"{found} now. Run again."
                )
            begins = _first_byte(response, file, start)
        except BaseException:
            response.close()
            raise
        return Opened(_Body(response, self._stall_seconds, self._clock, begins is None), begins or 0, found)

    def _request(self, url: str, headers: Mapping[str, str], retries: "_Retry") -> urllib3.BaseHTTPResponse:
        """Get a URL and follow redirects on its host; the caller closes the response."""
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        for _ in range(_REDIRECTS + 1):
            with _translated(retries.name):
                response = self._pool(url).request(
                    "GET", url, headers=headers, retries=retries, redirect=False, preload_content=False
                )
            location = response.get_redirect_location()
            if not location:
                return response
            response.close()
            target = urljoin(url, location)
            require_same_host(url, target, retries.name)
            url = target
        raise SourceError(f"{retries.name} redirects more than {_REDIRECTS} times. Check the source.")

    def _retries(self, name: str, statuses: Collection[int]) -> "_Retry":
        retries = _Retry(
            self._tries - 1,
            status_forcelist=statuses,
            backoff_factor=1,
            backoff_max=BACKOFF_LIMIT_SECONDS,
            retry_after_max=RETRY_AFTER_LIMIT_SECONDS,
            raise_on_status=False,
        )
        retries.name, retries.wait = name, self.sleep
        return retries

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connections for a URL: direct ones, or those of its proxy."""
        target = parse_url(url)
        proxies = urllib.request.getproxies()
        proxy = proxies.get(target.scheme or "", proxies.get("all"))
        if proxy and urllib.request.proxy_bypass(f"{target.host}:{target.port or ''}"):
            proxy = None
        if proxy not in self._pools:
            self._pools[proxy] = (
                self._proxy_pool(proxy) if proxy else urllib3.PoolManager(timeout=self._timeout)
            )
        return self._pools[proxy]

    def _proxy_pool(self, proxy: str) -> urllib3.PoolManager:
        url = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        headers = make_headers(proxy_basic_auth=unquote(url.auth) if url.auth else None)
        try:
            return urllib3.ProxyManager(url.url, proxy_headers=headers, timeout=self._timeout)
        except ProxySchemeUnknown:
            raise SourceError(
                f"cannot use the proxy {url.scheme}://{url.host}: only http and https proxies are supported. "
                "Set HTTPS_PROXY to one of them, or add the host of the source to NO_PROXY."
            ) from None

    def _read_document(self, response: urllib3.BaseHTTPResponse, name: str) -> bytes:
        body = _Body(response, self._stall_seconds, self._clock)
        document, block = bytearray(), memoryview(bytearray(_BLOCK_BYTES))
        while count := body.readinto(block):
            document += block[:count]
            if len(document) > DOCUMENT_LIMIT_BYTES:
                raise SourceError(
                    f"{name} has more than 16 MiB, so it is not a record. Choose the record, not one of its files."
                )
        return bytes(document)


class _Retry(urllib3.Retry):
    """urllib3's retries, with a log line for each wait; a certificate that is not valid fails at once."""

    name: str
    wait: Callable[[float], None]

    def new(self, **changes: Any) -> Self:
        fresh = super().new(**changes)
        fresh.name, fresh.wait = self.name, self.wait
        return fresh

    def increment(self, *args: Any, error: Exception | None = None, **kwargs: Any) -> Self:
        cause: object = error
        while isinstance(cause, Exception):
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise SourceError(
                    f"cannot read {self.name}: the certificate of the server is not valid "
                    f"({cause.verify_message}). If a proxy of your network signs connections, set "
                    "SSL_CERT_FILE to its certificate."
                ) from error
            cause = cause.args[-1] if cause.args else None
        return super().increment(*args, error=error, **kwargs)

    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        seconds = None
        if response is not None and response.status in {429, 503}:
            seconds = self.asked_seconds(response)
        if seconds is None:
            seconds = self.get_backoff_time()
        last = self.history[-1]
        reason = _reason(last.error) if last.error else f"the server answered {last.status}"
        logger.warning("%s: %s; trying again in %.0f s", self.name, reason, seconds)
        self.wait(seconds)

    def asked_seconds(self, response: urllib3.BaseHTTPResponse) -> float | None:
        """Return the seconds that the server asks to wait, at most ten minutes; None if it does not."""
        try:
            return self.get_retry_after(response)
        except (InvalidHeader, ValueError, OverflowError):
            return None


class _Body:
    """The body of a response. Fails when it is slower than 1 KiB/s, or `useless`."""

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        window_seconds: float,
        clock: Callable[[], float],
        useless: bool = False,
    ) -> None:
        self._response = response
        self._window = window_seconds
        self._clock = clock
        self._useless = useless
        self._seconds = self._bytes = 0.0

    def readinto(self, buffer: memoryview, /) -> int:
        if self._useless:
            raise TransferError("the server sent another range than it was asked for")
        began = self._clock()
        try:
            # read1 returns what has arrived; read(n) would lose it when the connection breaks before n.
            data = self._response.read1(min(len(buffer), _BLOCK_BYTES), decode_content=False) or b""
        except HTTPError as error:
            raise TransferError(f"the connection broke: {_reason(error)}") from error
        buffer[: len(data)] = data
        self._measure(self._clock() - began, len(data))
        return len(data)

    def close(self) -> None:
        self._response.close()

    def _measure(self, seconds: float, count: int) -> None:
        """Count the time spent waiting for bytes; time between two reads is the reader's own."""
        self._seconds += seconds
        self._bytes += count
        if self._seconds < self._window:
            return
        if count and self._bytes < self._seconds * SLOWEST_BYTES_PER_SECOND:
            raise TransferError(f"only {self._bytes:,.0f} bytes arrived in {self._seconds:.0f} s")
        self._seconds = self._bytes = 0.0


def safe_url(url: str) -> str:
    """Remove what can hold a secret from a URL: user, query and fragment."""
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def require_same_host(url: str, target: str, name: str) -> None:
    """Make sure that a link or redirect stays on its host, and is not less safe.

    Args:
        url: where the link was found.
        target: where it leads.
        name: of what is read, for the message.

    Raises:
        SourceError: it leads to another host, from https to http, or is not a URL.
    """
    with _translated(target):
        here, there = parse_url(url), parse_url(target)
    allowed = {"https"} if here.scheme == "https" else {"http", "https"}
    if there.host != here.host or there.scheme not in allowed:
        raise SourceError(
            f"{name} leads to {safe_url(target)}, which is not on {here.scheme}://{here.host}. Links to other "
            "hosts are not followed. Choose a record whose files are on its own host."
        )


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Translate urllib3's errors raised in the block; theirs can hold a URL with a token."""
    try:
        yield
    except LocationValueError:
        raise SourceError(f"{safe_url(name)} is not a valid http or https URL. Correct it.") from None
    except MaxRetryError as error:
        raise TransferError(
            f"cannot read {name}: {_reason(error.reason)}, in several tries. Try again later."
        ) from error.reason
    except HTTPError as error:
        raise TransferError(f"cannot read {name}: {_reason(error)}. Try again later.") from error


def _require_success(response: urllib3.BaseHTTPResponse, name: str, *, passing: bool) -> None:
    """Refuse what is not an answer to use. `passing`: a 403 counts as a passing failure."""
    if response.status in {200, 206, 416}:
        return
    answer = f"cannot read {name}: the server answered {response.status}{_words(response)}."
    if response.status in _RETRIED or (passing and response.status == 403):
        raise TransferError(f"{answer} Try again later.")
    if response.status == 403:
        raise SourceError(
            f"{answer} Zenodo does so when too much comes from one network: wait an hour or use another "
            "network. Files that are not open to everyone cannot be used."
        )
    raise SourceError(f"{answer} Check that the source is written as on Zenodo and open to everyone.")


def _words(response: urllib3.BaseHTTPResponse) -> str:
    """Return the beginning of what the server says, as one line in quotes."""
    try:
        text = response.read(4096, decode_content=False).decode(errors="replace")
    except HTTPError:
        return ""
    text = re.sub(r"(?is)<(script|style|title).*?</\1>|<[^>]*>", " ", text)
    line = " ".join(word for word in html.unescape(text).split() if word.isprintable())
    return f' ("{line[:300]}")' if line else ""


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return what `If-Range` can hold: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _changed(headers: Mapping[str, str], validator: str) -> bool:
    current = headers.get("ETag" if validator.startswith('"') else "Last-Modified")
    return current is not None and current.removeprefix("W/") != validator


def _first_byte(response: urllib3.BaseHTTPResponse, file: RecordFile, start: int) -> int | None:
    """Return the byte that a body begins with: `start` or 0; None if it is another range."""
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        size, begins = (int(length) if length.isdecimal() else file.size), 0
    elif response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            return None
        size, begins = int(match[2]), start
    else:
        raise ChangedError(
            f"{file.name} has {file.size:,} bytes in the record, but the server has none after byte {start:,}. "
            "Run again."
        )
    if size != file.size:
        raise ChangedError(
            f"{file.name} has {file.size:,} bytes in the record, but {size:,} on the server. Run again."
        )
    return begins


def _reason(error: BaseException | None) -> str:
    """Return the first part of what urllib3 says; the rest repeats it."""
    return str(error.args[0]) if error is not None and error.args else repr(error)


def _without_urls(record: logging.LogRecord) -> bool:
    """Drop lines of urllib3 that hold a query, and those about retries, which are logged here."""
    return not record.getMessage().startswith("Retrying") and "?" not in record.getMessage()
