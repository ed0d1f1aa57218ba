"""HTTP requests: proxies, retries, redirects, and files that are opened at a byte.

A request that fails for a passing reason is retried by urllib3, a body that breaks off by `ResumingReader`.
"""

import logging
import re
import ssl
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Self, cast
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
from bigearthnet.errors import SourceError, TransferError
from bigearthnet.source.answers import (
    FORBIDDEN,
    RETRIED,
    ResponseBody,
    first_byte,
    reason,
    require_success,
    validator_of,
)
from bigearthnet.source.record import RecordFile
from bigearthnet.store.reader import BACKOFF_LIMIT_SECONDS, TRIES, Opened

PROJECT_URL: Final = "https://github.com/bigearthnet-prefect/bigearthnet-prefect"
USER_AGENT: Final = f"bigearthnet-prefect/{__version__} (+{PROJECT_URL})"
"""Zenodo slows down the default user agents of HTTP libraries."""
RETRY_AFTER_LIMIT_SECONDS: Final = 600
DOCUMENT_LIMIT_BYTES: Final = 16 << 20

_BLOCK_BYTES: Final = 64 << 10
_REDIRECTS: Final = 5

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
        logging.getLogger("urllib3.connectionpool").addFilter(_hides_urls)

    def document(self, url: str) -> bytes:
        """Read a small document.

        Raises:
            TransferError: the server did not answer, or not to the end.
            SourceError: the server refused the request, or the document has more than 16 MiB.
        """
        retries = self._retries(safe_url(url), RETRIED)
        while True:
            with self._request(url, {}, retries) as response:
                require_success(response, retries.name)
                try:
                    return self._read_document(response, retries.name)
                except TransferError as error:
                    # urllib3 does not retry bodies; this goes on with the count of the request's tries.
                    with _translate_errors(retries.name):
                        failed = ProtocolError(str(error))
                        retries = cast(_Retry, response.retries).increment("GET", url, error=failed)
            retries.sleep()

    def open_at(self, file: RecordFile, start: int, validator: str | None) -> Opened:
        """Open a file at a byte, see `OpenAt`.

        Raises:
            TransferError: the server did not answer.
            ChangedError: the file is another version now, or has another size than the record says.
            SourceError: the server refused the request.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and validator:
            headers["If-Range"] = validator
        name = f"{file.name} from {safe_url(file.location)}"
        retries = self._retries(name, {*RETRIED, FORBIDDEN} if start else RETRIED)
        response = self._request(file.location, headers, retries)
        try:
            require_success(response, name, has_begun=start > 0)
            begins = first_byte(response, file, start, validator)
        except BaseException:
            response.close()
            raise
        failure = "the server sent another range than it was asked for" if begins is None else None
        body = ResponseBody(response, self._stall_seconds, self._clock, failure)
        return Opened(body, begins or 0, validator_of(response.headers))

    def _request(self, url: str, headers: Mapping[str, str], retries: "_Retry") -> urllib3.BaseHTTPResponse:
        """Get a URL and follow redirects on its host; the caller closes the response."""
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        for _ in range(_REDIRECTS + 1):
            with _translate_errors(retries.name):
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
            self._pools[proxy] = self._open_pool(proxy)
        return self._pools[proxy]

    def _open_pool(self, proxy: str | None) -> urllib3.PoolManager:
        if not proxy:
            return urllib3.PoolManager(timeout=self._timeout)
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
        body = ResponseBody(response, self._stall_seconds, self._clock)
        document, block = bytearray(), memoryview(bytearray(_BLOCK_BYTES))
        while count := body.readinto(block):
            document += block[:count]
            if len(document) > DOCUMENT_LIMIT_BYTES:
                raise SourceError(
                    f"{name} has more than 16 MiB, so it is not a record. Choose the record, not its files."
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

    def increment(self, method: Any = None, url: Any = None, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG002
        cause = kwargs.get("error")
        while isinstance(cause, Exception):
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise SourceError(
                    f"cannot read {self.name}: the certificate of the server is not valid "
                    f"({cause.verify_message}). If a proxy of your network signs connections, set "
                    "SSL_CERT_FILE to its certificate."
                ) from cause
            cause = cause.args[-1] if cause.args else None
        # Without the URL, which can hold a token, in urllib3's errors and log lines.
        return super().increment(method, None, *args, **kwargs)

    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        seconds, last = self.get_backoff_time(), self.history[-1]
        if response is not None and response.status in {429, 503}:
            with suppress(InvalidHeader, ValueError, OverflowError):
                asked = self.get_retry_after(response)
                seconds = seconds if asked is None else asked
        failure = reason(last.error) if last.error else f"the server answered {last.status}"
        logger.warning("%s: %s; trying again in %.0f s", self.name, failure, seconds)
        self.wait(seconds)


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
    with _translate_errors(target):
        here, there = parse_url(url), parse_url(target)
    allowed = {"https"} if here.scheme == "https" else {"http", "https"}
    if there.host != here.host or there.scheme not in allowed:
        raise SourceError(
            f"{name} leads to {safe_url(target)}, which is not on {here.scheme}://{here.host}. Only links "
            "on the same host are followed. Choose a record whose files are on its own host."
        )


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Translate urllib3's errors raised in the block; theirs can hold a URL with a token."""
    try:
        yield
    except LocationValueError:
        raise SourceError(f"{safe_url(name)} is not a valid http or https URL. Correct it.") from None
    except MaxRetryError as error:
        raise TransferError(
            f"cannot read {name}: {reason(error.reason)}, in several tries. Try again later."
        ) from error.reason
    except HTTPError as error:
        raise TransferError(f"cannot read {name}: {reason(error)}. Try again later.") from error


def _hides_urls(record: logging.LogRecord) -> bool:
    """Drop urllib3's lines that hold a query, and those about retries, which are logged here."""
    line = record.getMessage()
    return "?" not in line and not line.startswith("Retrying")
