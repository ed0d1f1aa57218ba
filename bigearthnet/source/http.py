"""HTTP requests: proxies, retries, redirects, and files that are opened at a byte.

A request that fails for a passing reason is retried by urllib3, a body that breaks off by `ResumingReader`.
Versions are not compared: every file that is read over HTTP has an md5 to be checked in the end.
"""

import html
import logging
import re
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import unquote, urljoin

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, ProxySchemeUnknown
from urllib3.util import make_headers, parse_url

from bigearthnet import __version__
from bigearthnet.errors import ChangedError, SourceError, TransferError
from bigearthnet.source.record import RecordFile
from bigearthnet.store.reader import BACKOFF_LIMIT_SECONDS, TRIES, Opened

PROJECT_URL: Final = "https://github.com/bigearthnet-prefect/bigearthnet-prefect"
USER_AGENT: Final = f"bigearthnet-prefect/{__version__} (+{PROJECT_URL})"
"""Zenodo slows down the default user agents of HTTP libraries."""
DOCUMENT_LIMIT_BYTES: Final = 16 << 20

_RETRIED: Final = {408, 429, *range(500, 600)}
_FORBIDDEN: Final = 403
"""Zenodo sends it to guests of a network that has asked for too much."""
_RETRY_AFTER_LIMIT_SECONDS: Final = 600
_REDIRECTS: Final = 5
_CONNECT_SECONDS: Final = 20
_BLOCK_BYTES: Final = 256 << 10
_CONTENT_RANGE: Final = re.compile(r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18})")

logger = logging.getLogger(__name__)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # its lines hold URLs, and retries are logged here


@dataclass(frozen=True, slots=True)
class Http:
    """Makes requests. Uses HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    Attributes:
        stall_seconds: longest time without a byte.
        tries: of a request, in a row.
        sleep: waits that many seconds.
    """

    stall_seconds: float = 60
    tries: int = TRIES
    sleep: Callable[[float], None] = time.sleep

    def document(self, url: str) -> bytes:
        """Read a small document.

        Raises:
            TransferError: the server did not answer, or not to the end.
            SourceError: the server refused the request, or the document has more than 16 MiB.
        """
        name, document = safe_url(url), bytearray()
        retries = self._retries(name, _RETRIED)
        while True:
            with _translate_errors(name), self._get(url, {}, retries) as response:
                _require_success(response, name)
                document.clear()
                try:
                    for block in response.stream(_BLOCK_BYTES, decode_content=False):
                        document += block
                        if len(document) > DOCUMENT_LIMIT_BYTES:
                            raise SourceError(
                                f"{name} has more than 16 MiB, so it is not a record. Choose one."
                            )
                    return bytes(document)
                except HTTPError as error:  # urllib3 does not retry bodies
                    retries = retries.increment("GET", error=error)
            retries.sleep()

    def open_at(self, file: RecordFile, start: int, _validator: str | None) -> Opened:
        """Open a file at a byte, see `OpenAt`."""
        name, headers = f"{file.name} from {safe_url(file.location)}", {}
        statuses = _RETRIED
        if start:  # a 403 in the middle of a file is a limit that will pass
            headers, statuses = {"Range": f"bytes={start}-"}, _RETRIED | {_FORBIDDEN}
        with _translate_errors(name):
            response = self._get(file.location, headers, self._retries(name, statuses))
            try:
                _require_success(response, name, statuses)
                begins = _first_byte(response, file, start)
            except BaseException:
                response.close()
                raise
        return Opened(_ResponseBody(response), begins, None)

    def _get(self, url: str, headers: dict[str, str], retries: "_Retry") -> BaseHTTPResponse:
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        return self._pool(url).request("GET", url, headers=headers, retries=retries, preload_content=False)

    def _retries(self, name: str, statuses: Collection[int]) -> "_Retry":
        retries = _Retry(
            self.tries - 1,
            redirect=_REDIRECTS,
            status_forcelist=statuses,
            backoff_factor=1,
            backoff_max=BACKOFF_LIMIT_SECONDS,
            retry_after_max=_RETRY_AFTER_LIMIT_SECONDS,
            raise_on_status=False,
            raise_on_redirect=False,
        )
        retries.name, retries.wait = name, self.sleep
        return retries

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return connections for a URL: direct ones, or those of its proxy."""
        target, proxies = parse_url(url), urllib.request.getproxies()
        proxy = proxies.get(target.scheme or "", proxies.get("all"))
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=self.stall_seconds)
        if not proxy or urllib.request.proxy_bypass(f"{target.host}:{target.port or ''}"):
            return urllib3.PoolManager(timeout=timeout)
        found = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        headers = make_headers(proxy_basic_auth=unquote(found.auth) if found.auth else None)
        return urllib3.ProxyManager(found.url, proxy_headers=headers, timeout=timeout)


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

    def close(self) -> None:
        """Close the connection."""
        self.response.close()


class _Retry(urllib3.Retry):
    """urllib3's retries, with a log line for each wait; redirects to other hosts are refused."""

    name: str
    wait: Callable[[float], None]

    def new(self, **changes: Any) -> Self:
        fresh = super().new(**changes)
        fresh.name, fresh.wait = self.name, self.wait
        return fresh

    def increment(self, method: Any = None, url: Any = None, response: Any = None, **more: Any) -> Self:  # type: ignore[override]
        if location := response and response.get_redirect_location():
            require_same_host(url, urljoin(url, location), self.name)
        if "CERTIFICATE_VERIFY_FAILED" in repr(error := more.get("error")):  # would not pass
            raise SourceError(
                f"cannot read {self.name}: the certificate of the server is not valid ({_reason(error)}). "
                "If a proxy of your network signs connections, set SSL_CERT_FILE to its certificate."
            )
        return super().increment(method, url, response, **more)

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        seconds, last = self.get_backoff_time(), self.history[-1]
        with suppress(HTTPError, ValueError, OverflowError):  # a header that is no number or date
            seconds = (response and self.get_retry_after(response)) or seconds
        failure = _reason(last.error) if last.error else f"the server answered {last.status}"
        logger.warning("%s: %s; trying again in %.0f s", self.name, failure, seconds)
        self.wait(seconds)


def safe_url(url: str) -> str:
    """Remove what can hold a secret from a URL: user, query and fragment."""
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def require_same_host(url: str, target: str, name: str) -> None:
    """Make sure that a link in what is read from `url` stays on its host, and is not less safe.

    Raises:
        SourceError: it leads elsewhere, or is not a URL; the message begins with `name`.
    """
    with _translate_errors(target):
        here, there = parse_url(url), parse_url(target)
    if there.host != here.host or there.scheme not in {"https", here.scheme}:
        raise SourceError(
            f"{name} leads to {safe_url(target)}, which is not on {here.scheme}://{here.host}. Only links "
            "on the same host are followed. Choose a record whose files are on its own host."
        )


def _require_success(response: BaseHTTPResponse, name: str, passing: Collection[int] = _RETRIED) -> None:
    """Refuse an answer that is not 200, 206 or 416; one of `passing` by a TransferError."""
    if response.status in {200, 206, 416}:
        return
    text = ""
    with suppress(HTTPError):
        text = response.read(4096, decode_content=False).decode(errors="replace")
    text = html.unescape(re.sub(r"(?is)<(script|style|title).*?</\1>|<[^>]*>", " ", text))
    words = " ".join(word for word in text.split() if word.isprintable())
    said = f' ("{words[:300]}")' if words else ""
    answer = f"cannot read {name}: the server answered {response.status}{said}."
    if response.status in passing:
        raise TransferError(f"{answer} Try again later.")
    if response.status == _FORBIDDEN:
        raise SourceError(
            f"{answer} Zenodo does so when too much is read from one network: wait an hour, or use another "
            "network. Files that are not open to everyone cannot be used."
        )
    raise SourceError(f"{answer} Check that the source is written as on Zenodo and open to everyone.")


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


def _reason(error: BaseException | None) -> str:
    """Return the first part of what urllib3 says; the rest repeats it, or holds the URL."""
    return str(error.args[0]) if error is not None and error.args else repr(error)


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Translate urllib3's errors raised in the block; theirs can hold a URL with a token."""
    try:
        yield
    except ProxySchemeUnknown:
        raise SourceError(
            f"cannot read {name}: only http and https proxies are supported. Set HTTPS_PROXY to one of them, "
            "or add the host to NO_PROXY."
        ) from None
    except LocationValueError:
        raise SourceError(f"{safe_url(name)} is not a valid http or https URL. Correct it.") from None
    except MaxRetryError as error:
        raise TransferError(
            f"cannot read {name}: {_reason(error.reason)}, in several tries. Try again later."
        ) from error.reason
    except HTTPError as error:
        raise TransferError(f"cannot read {name}: {_reason(error)}. Try again later.") from error
