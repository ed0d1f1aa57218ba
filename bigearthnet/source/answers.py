"""What an HTTP answer means: use it, try again later, or give up; and the body that comes with it.

Rules: RFC 9110, sections 8.8 (validators), 13.1.5 (If-Range) and 14 (ranges). Zenodo sometimes sends the
whole file in answer to a range.
"""

import html
import re
from collections.abc import Callable, Mapping
from typing import Final

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from bigearthnet.errors import ChangedError, SourceError, TransferError
from bigearthnet.source.record import RecordFile

RETRIED: Final = frozenset({408, 429, *range(500, 600)})
"""Statuses that another try can turn into success."""
FORBIDDEN: Final = 403
"""Zenodo sends it to guests of a network that has asked for too much."""
SLOWEST_BYTES_PER_SECOND: Final = 1 << 10

_BLOCK_BYTES: Final = 256 << 10
_WORDS_BYTES: Final = 4096
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


class ResponseBody:
    """The body of a response; a `Body` for `ResumingReader`.

    Args:
        response: not read yet.
        window_seconds: time in which the speed is measured; less than 1 KiB/s breaks the connection.
        clock: seconds from any beginning.
        failure: reason why the body cannot be used; None if it can.
    """

    def __init__(
        self,
        response: BaseHTTPResponse,
        window_seconds: float,
        clock: Callable[[], float],
        failure: str | None = None,
    ) -> None:
        self._response = response
        self._window = window_seconds
        self._clock = clock
        self._failure = failure
        self._seconds = self._bytes = 0.0

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what has arrived; 0 at the end.

        Raises:
            TransferError: the connection broke, is too slow, or the body cannot be used.
        """
        if self._failure is not None:
            raise TransferError(self._failure)
        began = self._clock()
        try:
            # read1 returns what has arrived; read(n) would lose it when the connection breaks before n.
            data = self._response.read1(min(len(buffer), _BLOCK_BYTES), decode_content=False) or b""
        except HTTPError as error:
            raise TransferError(f"the connection broke: {reason(error)}") from error
        buffer[: len(data)] = data
        self._measure(self._clock() - began, len(data))
        return len(data)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def _measure(self, seconds: float, count: int) -> None:
        """Count the time spent waiting for bytes; the time between two reads is the reader's own."""
        self._seconds += seconds
        self._bytes += count
        if self._seconds < self._window:
            return
        if count and self._bytes < self._seconds * SLOWEST_BYTES_PER_SECOND:
            raise TransferError(f"only {self._bytes:,.0f} bytes arrived in {self._seconds:.0f} s")
        self._seconds = self._bytes = 0.0


def require_success(response: BaseHTTPResponse, name: str, *, has_begun: bool = False) -> None:
    """Refuse an answer that is not 200, 206 or 416.

    Args:
        response: its body is not read yet.
        name: of what was asked for, for the message.
        has_begun: bytes of it have come before, so that a 403 is a limit that will pass.

    Raises:
        TransferError: the server is busy or broken; its tries are spent.
        SourceError: it refuses, and would do so again.
    """
    if response.status in {200, 206, 416}:
        return
    answer = f"cannot read {name}: the server answered {response.status}{_words(response)}."
    if response.status in RETRIED or (has_begun and response.status == FORBIDDEN):
        raise TransferError(f"{answer} Try again later.")
    if response.status == FORBIDDEN:
        raise SourceError(
            f"{answer} Zenodo does so when too much is read from one network: wait an hour, or use another "
            "network. Files that are not open to everyone cannot be used."
        )
    raise SourceError(f"{answer} Check that the source is written as on Zenodo and open to everyone.")


def validator_of(headers: Mapping[str, str]) -> str | None:
    """Return what `If-Range` can hold: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def first_byte(response: BaseHTTPResponse, file: RecordFile, start: int, validator: str | None) -> int | None:
    """Return the byte of the file that the body begins with.

    Args:
        response: a 200, 206 or 416.
        file: that was asked for.
        start: first byte that was asked for.
        validator: version that earlier bytes came from; None if there are none or it is unknown.

    Returns:
        `start`, or 0 where the server sends the whole file; None if it sends another range.

    Raises:
        ChangedError: it is another version, or has another size than the record says.
    """
    if validator is not None and _differs(response.headers, validator):
        raise ChangedError(
            f"{file.name} changed on the server: it was {validator} up to byte {start:,} and is "
            f"{validator_of(response.headers)} now. Run again."
        )
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        begins, size = 0, int(length) if length.isdecimal() else file.size
    elif response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            return None
        begins, size = int(match[1]), int(match[2])
    else:  # 416
        begins = size = start
    if size != file.size:
        raise ChangedError(
            f"{file.name} has {file.size:,} bytes in the record, but {size:,} on the server. Run again."
        )
    return begins


def reason(error: BaseException | None) -> str:
    """Return the first part of what urllib3 says; the rest repeats it, or holds the URL."""
    return str(error.args[0]) if error is not None and error.args else repr(error)


def _differs(headers: Mapping[str, str], validator: str) -> bool:
    current = headers.get("ETag" if validator.startswith('"') else "Last-Modified")
    return current is not None and current.removeprefix("W/") != validator


def _words(response: BaseHTTPResponse) -> str:
    """Return the beginning of what the server says, as one line in quotes."""
    try:
        text = response.read(_WORDS_BYTES, decode_content=False).decode(errors="replace")
    except HTTPError:
        return ""
    text = re.sub(r"(?is)<(script|style|title).*?</\1>|<[^>]*>", " ", text)
    line = " ".join(word for word in html.unescape(text).split() if word.isprintable())
    return f' ("{line[:300]}")' if line else ""
