"""Parts of a multipart upload: S3's limits, and how the pieces of a file are arranged as parts."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigearthnet.store.base import Piece, Range
from bigearthnet.store.disk import translate_os_errors

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIN_PART_BYTES: Final = 5 << 20
"""The least of any part but the last."""
MAX_PART_BYTES: Final = 5 << 30
MAX_PARTS: Final = 10_000
SENT_BYTES: Final = 8 << 20
"""Of a part that is sent from here."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Bytes `start` to `stop` of a piece."""

    piece: Piece
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start

    def split(self, size: int) -> "tuple[Cut, Cut]":
        """The first `size` bytes, and the rest."""
        middle = min(self.start + size, self.stop)
        return Cut(self.piece, self.start, middle), Cut(self.piece, middle, self.stop)


Part = tuple[Cut, ...]
"""One cut of a stored file, which the server copies; else cuts that are sent from here together."""


def copied_range(part: Part) -> Range | None:
    """The range that the server copies; None for a part that is sent."""
    cut, *more = part
    if more or not isinstance(cut.piece, Range):
        return None
    return Range(cut.piece.file, cut.piece.start + cut.start, cut.piece.start + cut.stop)


def plan_parts(
    pieces: Sequence[Piece],
    *,
    least: int = MIN_PART_BYTES,
    most: int = MAX_PART_BYTES,
    sent: int = SENT_BYTES,
) -> list[Part]:
    """Arrange pieces as parts, so that the server copies as many bytes as possible.

    A range that is too small for a part is sent, together with enough of what follows it.

    Args:
        pieces: in order.
        least: bytes of any part but the last.
        most: bytes of any part; at least twice `least`.
        sent: bytes of a part that is sent; at least `least`.
    """
    parts: list[Part] = []
    waiting: list[Cut] = []  # to be sent together
    for piece in pieces:
        cut = Cut(piece, 0, _size(piece))
        missing = max(least - _total(waiting), 0) if waiting else 0
        if isinstance(piece, Range) and cut.size - missing >= least:
            first, rest = cut.split(missing)
            waiting += [first] * bool(missing)
            parts += [tuple(waiting)] * bool(waiting)
            parts += [(one,) for one in _equal_cuts(rest, most)]
            waiting = []
        elif cut.size:
            waiting.append(cut)
            while _total(waiting) >= sent:
                *whole, last = waiting
                first, rest = last.split(sent - _total(whole))
                parts.append((*whole, first))
                waiting = [rest] * bool(rest.size)
    return parts + [tuple(waiting)] * bool(waiting)


def _equal_cuts(cut: Cut, most: int) -> list[Cut]:
    """As few cuts of at most `most` bytes as it takes, about equally long."""
    count = -(-cut.size // most)
    bounds = [cut.start + cut.size * i // count for i in range(count + 1)]
    return [Cut(cut.piece, start, stop) for start, stop in itertools.pairwise(bounds)]


def _total(cuts: Sequence[Cut]) -> int:
    return sum(cut.size for cut in cuts)


def _size(piece: Piece) -> int:
    if isinstance(piece, Range):
        return piece.stop - piece.start
    if isinstance(piece, Path):
        with translate_os_errors("read", piece):
            return piece.stat().st_size
    return len(piece)
