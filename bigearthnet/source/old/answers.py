"""What an HTTP answer means for a transfer: use it, ask again, or give up. No network in here.

Source of the rules: RFC 9110, sections 8.8 (validators), 10.2.3 (Retry-After), 13.1.5 (If-Range) and
14 (ranges), and what clients of Zenodo met: `Retry-After` comes even with success, and an answer to a
`Range` is the whole file at times.
"""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC

from bigearthnet.errors import ChecksumError, SourceError, TransferError
from bigearthnet.source.old.record import RecordFile

RETRY_AFTER_LIMIT_SECONDS = 600.0
BACKOFF_LIMIT_SECONDS = 120.0

_RETRY_AFTER_STATUSES = frozenset({429, 503})
_PASSING_STATUSES = frozenset({408, 429})  # of the 4xx: too slow, too many; all 5xx pass too
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)")
_NUMBER = re.compile(r"[0-9]{1,18}")


class FailedTryError(TransferError):
    """One try failed in a way that another may not.

    Attributes:
        wait_seconds: how long the server asks to wait, None where it does not say.
    """

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says of itself before its body."""

    status: int
    etag: str | None = None
    last_modified: str | None = None
    content_range: str | None = None
    content_length: int | None = None
    retry_after: str | None = None

    @property
    def validator(self) -> str | None:
        """What `If-Range` may hold: the strong ETag, else the date of the last change, else None."""
        if self.etag is not None and self.etag.startswith('"'):
            return self.etag
        return self.last_modified


def read_answer(status: int, headers: Mapping[str, str]) -> Answer:
    """Pick out of the headers what a transfer goes by.

    Args:
        status: the answer's status.
        headers: a mapping that does not tell upper from lower case.
    """
    length = headers.get("Content-Length", "")
    return Answer(
        status,
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        content_range=headers.get("Content-Range"),
        content_length=int(length) if _NUMBER.fullmatch(length) else None,
        retry_after=headers.get("Retry-After"),
    )


def check_status(answer: Answer, what: str, now: float, *, usable: tuple[int, ...] = (200,)) -> None:
    """Tell an answer to use from one to ask again after, and both from a refusal.

    Args:
        answer: the answer.
        what: what was asked for, for the message.
        now: seconds since the epoch, for a `Retry-After` that is a date.
        usable: the statuses to use.

    Raises:
        FailedTryError: the server is busy or broken for now.
        SourceError: the server refuses; asking again gives the same.
    """
    if answer.status in usable:
        return
    reason = f"the server answered {answer.status}"
    if answer.status in _PASSING_STATUSES or answer.status >= 500:
        raise FailedTryError(reason, _asked_wait(answer, now))
    raise SourceError(
        f"expected {what}, {reason}; check that the source is spelt as on Zenodo and open to everyone"
    )


def body_start(
    answer: Answer, file: RecordFile, position: int, known: str | None, *, restart: bool = False
) -> int:
    """Where in the file the body of an answer begins.

    Args:
        answer: a 200, 206 or 416.
        file: what was asked for.
        position: first byte that is wanted, and was asked for.
        known: the validator of the bytes before `position`, None where there was none.
        restart: whether the bytes before `position` may be given up for the whole file.

    Returns:
        `position`, or 0 where the server sends the whole file: its first bytes are then to be passed
        over, or taken for those before `position`.

    Raises:
        ChecksumError: the file has changed, or has another size than the record says.
        FailedTryError: the answer is to another question.
    """
    if answer.status == 416:
        raise ChecksumError(
            f"expected {file.size} bytes of {file.name} as the record says, found that the server has none "
            f"from byte {position} on; read the record again"
        )
    restarts = restart and answer.status == 200
    if position > 0 and not restarts and _changed(answer, known):
        raise ChecksumError(
            f"{file.name} changed while it was read: expected the edition {known} that it began with, "
            f"found {answer.validator} at byte {position}; read the record again and begin anew"
        )
    if answer.status == 200:
        if answer.content_length is not None:
            _check_size(answer.content_length, file)
        return 0
    match = _CONTENT_RANGE.fullmatch(answer.content_range or "")
    if match is None or int(match[1]) != position:
        raise FailedTryError(f"asked for bytes from {position}, the answer's range is {answer.content_range}")
    _check_size(int(match[2]), file)
    return position


def retry_after_seconds(value: str, now: float) -> float | None:
    """Seconds that a `Retry-After` asks to wait, ten minutes at most; None where it is neither form.

    Args:
        value: seconds, or an HTTP date.
        now: seconds since the epoch.
    """
    if _NUMBER.fullmatch(value):
        return min(float(value), RETRY_AFTER_LIMIT_SECONDS)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(date.timestamp() - now, 0.0), RETRY_AFTER_LIMIT_SECONDS)


def backoff_seconds(first: float, fruitless: int) -> float:
    """Wait after `fruitless` tries in a row without a new byte: doubling, two minutes at most."""
    doublings = min(max(fruitless - 1, 0), 30)
    return float(min(first * 2**doublings, BACKOFF_LIMIT_SECONDS))


def without_secrets(url: str) -> str:
    """The URL for a message: without user, query and fragment, where tokens and signatures stand."""
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def _asked_wait(answer: Answer, now: float) -> float | None:
    if answer.retry_after is None or answer.status not in _RETRY_AFTER_STATUSES:
        return None
    return retry_after_seconds(answer.retry_after, now)


def _changed(answer: Answer, known: str | None) -> bool:
    if known is None:
        return False
    current = answer.etag if known.startswith('"') else answer.last_modified
    return current is not None and current.removeprefix("W/") != known


def _check_size(found: int, file: RecordFile) -> None:
    if found != file.size:
        raise ChecksumError(
            f"expected {file.size} bytes of {file.name} as the record says, found that the server has "
            f"{found}; read the record again"
        )
