"""Pieces of a file that is joined in a bucket, as parts of a multipart upload."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigearthnet.store.base import Piece, Range
from bigearthnet.store.disk import translate_os_errors
from bigearthnet.store.s3.parts import MAX_PART_BYTES, MIN_PART_BYTES, ranges

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

    def as_range(self) -> Range | None:
        """The bytes of a stored file that this is; None for bytes of this machine."""
        if not isinstance(self.piece, Range):
            return None
        return Range(self.piece.file, self.piece.start + self.start, self.piece.start + self.stop)


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A part: one cut that the server copies, or cuts that are sent from here together."""

    cuts: tuple[Cut, ...]

    @property
    def copied(self) -> Range | None:
        """The range that the server copies; None for a part that is sent."""
        return self.cuts[0].as_range() if len(self.cuts) == 1 else None


def plan_parts(
    pieces: Sequence[Piece],
    *,
    least: int = MIN_PART_BYTES,
    most: int = MAX_PART_BYTES,
    sent: int = SENT_BYTES,
) -> list[PlannedPart]:
    """Arrange pieces as parts, so that the server copies as many bytes as possible.

    A range that is too small for a part is sent, together with enough of what follows it.

    Args:
        pieces: in order.
        least: bytes of any part but the last.
        most: bytes of any part; at least twice `least`.
        sent: bytes of a part that is sent; at least `least`.
    """
    parts: list[PlannedPart] = []
    waiting: list[Cut] = []
    for piece in pieces:
        cut = Cut(piece, 0, _size(piece))
        missing = max(least - sum(c.size for c in waiting), 0) if waiting else 0
        if isinstance(piece, Range) and cut.size - missing >= least:
            first, rest = cut.split(missing)
            waiting += [first] * bool(missing)
            parts += [PlannedPart(tuple(waiting))] * bool(waiting)
            waiting = []
            parts += [PlannedPart((Cut(piece, *r),)) for r in ranges(rest.start, rest.stop, most)]
        elif cut.size:
            waiting.append(cut)
            while sum(c.size for c in waiting) >= sent:
                part, waiting = _split(waiting, sent)
                parts.append(PlannedPart(tuple(part)))
    return parts + [PlannedPart(tuple(waiting))] * bool(waiting)


def _split(cuts: Sequence[Cut], size: int) -> tuple[list[Cut], list[Cut]]:
    """The first `size` bytes of cuts, and the rest."""
    head: list[Cut] = []
    tail: list[Cut] = []
    for cut in cuts:
        first, rest = cut.split(size)
        head += [first] * bool(first.size)
        tail += [rest] * bool(rest.size)
        size -= first.size
    return head, tail


def _size(piece: Piece) -> int:
    if isinstance(piece, Range):
        return piece.stop - piece.start
    if isinstance(piece, Path):
        with translate_os_errors("read", piece):
            return piece.stat().st_size
    return len(piece)
