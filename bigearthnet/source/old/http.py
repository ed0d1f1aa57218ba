"""HTTP requests in our own name: answered, or an error that says whether to ask again."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, ResponseError

from bigearthnet import __version__
from bigearthnet.errors import SourceError, TransferError
from bigearthnet.source.old.answers import (
    Answer,
    FailedTryError,
    backoff_seconds,
    check_status,
    read_answer,
    without_secrets,
)

PROJECT_URL = "https://github.com/bigearthnet-prefect/bigearthnet-prefect"
USER_AGENT = f"bigearthnet-prefect/{__version__} (+{PROJECT_URL})"
"""Zenodo slows down the default user agents of HTTP libraries."""

DOCUMENT_LIMIT_BYTES = 16 << 20

_BLOCK_BYTES = 64 << 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the other side, and how often to ask it."""

    connect_seconds: float = 20
    stall_seconds: float = 60
    """Without a byte, until a connection counts as broken."""
    tries: int = 6
    """In a row without a new byte, until the transfer is given up."""
    backoff_seconds: float = 2
    """Before the second try; doubling up to 120."""


DEFAULT_PATIENCE = Patience()


class Http:
    """Requests in our own name, one pool of connections, and the patience they are made with.

    Args:
        patience: waits and tries.
        sleep: waits that many seconds.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        patience: Patience = DEFAULT_PATIENCE,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._patience = patience
        self._sleep = sleep
        self._now = now
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=patience.connect_seconds, read=patience.stall_seconds),
            # Redirects only: what is tried again, and when, is decided here, where waiting can be told.
            retries=urllib3.Retry(5, connect=0, read=0, status=0, other=0, respect_retry_after_header=False),
        )

    def get(
        self, url: str, headers: Mapping[str, str], *, usable: tuple[int, ...] = (200,)
    ) -> tuple[Answer, urllib3.BaseHTTPResponse]:
        """Ask once, and leave the body to be read; the caller closes the response.

        Raises:
            FailedTryError: no answer, or one that may be better later.
            SourceError: a URL that leads nowhere, or an answer that stays.
        """
        all_headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        shown = without_secrets(url)
        try:
            response = self._pool.request("GET", url, headers=all_headers, preload_content=False)
        except LocationValueError:
            raise SourceError(f"expected an http or https URL, found {shown}; spell it out") from None
        except MaxRetryError as error:
            # The reason goes on without the error, which holds the URL with its query.
            if isinstance(error.reason, ResponseError):
                raise SourceError(f"expected {shown}, found redirects without an end") from None
            raise FailedTryError(f"no answer: {reason(error.reason)}") from error.reason
        except HTTPError as error:
            raise FailedTryError(f"no answer: {reason(error)}") from error
        answer = read_answer(response.status, response.headers)
        try:
            check_status(answer, shown, self._now(), usable=usable)
        except (FailedTryError, SourceError):
            response.close()
            raise
        return answer, response

    def document(self, url: str) -> bytes:
        """A small document, whole.

        Raises:
            TransferError: it did not arrive in as many tries as patience has.
            SourceError: the server refuses it, or it is over 16 MiB.
        """
        fruitless = 0
        while True:
            try:
                return self._document_once(url)
            except FailedTryError as error:
                fruitless += 1
                self.wait(error, fruitless, without_secrets(url))

    def wait(self, error: FailedTryError, fruitless: int, what: str) -> None:
        """Wait before the next try, as long as the server asks, or longer with every failure.

        Args:
            error: how the last try failed.
            fruitless: tries in a row that brought no new byte.
            what: what is asked for, for the message.

        Raises:
            TransferError: there are no more tries.
        """
        if fruitless >= self._patience.tries:
            raise TransferError(
                f"expected {what}, found nothing new in {fruitless} tries, at last: {error}; "
                "try again later, what has arrived is kept where a download goes to a file"
            ) from error
        seconds = error.wait_seconds
        if seconds is None:
            seconds = backoff_seconds(self._patience.backoff_seconds, fruitless)
        logger.warning("%s: %s; asking again in %.0f s", what, error, seconds)
        self._sleep(seconds)

    def _document_once(self, url: str) -> bytes:
        _, response = self.get(url, {})
        body = bytearray()
        try:
            for block in response.stream(_BLOCK_BYTES):
                body += block
                if len(body) > DOCUMENT_LIMIT_BYTES:
                    raise SourceError(
                        f"expected the JSON of a record at {without_secrets(url)}, found over "
                        f"{DOCUMENT_LIMIT_BYTES} bytes; name the record, not one of its files"
                    )
        except HTTPError as error:
            raise FailedTryError(f"the answer broke off: {reason(error)}") from error
        finally:
            response.close()
        return bytes(body)


def reason(error: BaseException | None) -> str:
    """What urllib3 says first of an error; what follows there repeats it."""
    return str(error.args[0]) if error is not None and error.args else repr(error)
