"""Parts of a multipart upload: S3's limits, and how the pieces of a file are arranged as parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bigearthnet.store.base import Piece, Range
from bigearthnet.store.disk import translate_os_errors

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIN_PART_BYTES: Final = 5 << 20
"""The least of any part but the last."""
SENT_BYTES: Final = 8 << 20
"""Of a part that is sent from here."""


@dataclass(frozen=True, slots=True)
class LocalRange:
    """Bytes `start` to `stop` (exclusive) of a local file."""

    path: Path
    start: int
    stop: int


Part = Range | tuple[Range | LocalRange, ...]
"""A range that the server copies, or ranges that are sent from here together."""


def plan_parts(pieces: Sequence[Piece], *, least: int = MIN_PART_BYTES, sent: int = SENT_BYTES) -> list[Part]:
    """Arrange pieces as parts, so that the server copies as many bytes as possible.

    A range that is too small for a part is sent, together with enough of what follows it.

    Args:
        pieces: in order; none has more than the 5 GiB that the server copies at once.
        least: bytes of any part but the last.
        sent: bytes of a part that is sent; at least `least`.
    """
    parts: list[Part] = []
    waiting: list[Range | LocalRange] = []  # to be sent together
    for piece in pieces:
        rest = piece if isinstance(piece, Range) else _whole(piece)
        missing = max(least - _total(waiting), 0) if waiting else 0
        if isinstance(rest, Range) and rest.stop - rest.start >= missing + least:
            if waiting:
                middle = rest.start + missing
                parts.append((*waiting, replace(rest, stop=middle)))
                rest, waiting = replace(rest, start=middle), []
            parts.append(rest)
            continue
        while _total(waiting) + rest.stop - rest.start >= sent:
            middle = rest.start + sent - _total(waiting)
            parts.append((*waiting, replace(rest, stop=middle)))
            rest, waiting = replace(rest, start=middle), []
        if rest.start < rest.stop:
            waiting.append(rest)
    return [*parts, tuple(waiting)] if waiting else parts


def _whole(path: Path) -> LocalRange:
    with translate_os_errors("read", path):
        return LocalRange(path, 0, path.stat().st_size)


def _total(ranges: Sequence[Range | LocalRange]) -> int:
    return sum(one.stop - one.start for one in ranges)
