"""The report of a run, as Markdown."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, process_time

from bigearthnet.dataset.card import CARD, Card
from bigearthnet.progress import human_bytes, human_time

_REJECTED_SHOWN = 50
_CREDIT_SECONDS = 60
"""CPU-seconds that a CPU credit of EC2's T2 instances buys."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What a run took: seconds of wall clock and of CPU, and patches that it made itself."""

    wall_seconds: float
    cpu_seconds: float
    patches_made: int


class Stopwatch:
    """Wall clock and CPU from its making on."""

    def __init__(self) -> None:
        self._wall, self._cpu = monotonic(), process_time()

    def effort(self, patches_made: int) -> Effort:
        """What it took until now to make so many patches."""
        return Effort(monotonic() - self._wall, process_time() - self._cpu, patches_made)


def summary(card: Card, destination: str, effort: Effort) -> str:
    """One line of what was done."""
    rate = ""
    if effort.patches_made and effort.wall_seconds > 0:
        rate = f" ({effort.patches_made / effort.wall_seconds:,.0f} patches a second)"
    return (
        f"{card.counts.patches:,} of the {card.counts.asked_for:,} patches asked for are in {destination}, "
        f"{card.counts.rejected:,} rejected; {effort.patches_made:,} made in this run, in "
        f"{human_time(effort.wall_seconds)}{rate}, {effort.cpu_seconds:.1f} s of CPU "
        f"({effort.cpu_seconds / _CREDIT_SECONDS:.2f} CPU credits of a t2.micro)"
    )


def report(card: Card, destination: str, effort: Effort, preview: bytes) -> str:
    """What was made, with the contact sheet as a picture in the text."""
    sections = [
        f"# {card.counts.patches:,} patches",
        summary(card, destination, effort) + ".",
        f"![Images and masks](data:image/png;base64,{base64.b64encode(preview).decode()})",
        _files(card),
        _classes(card),
        _rejected(card),
        _source(card),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _files(card: Card) -> str:
    shards = [file for file in card.files if file.name.startswith("tiles/")]
    rows = [
        (file.name, human_bytes(file.size), file.sha256[:12]) for file in card.files if file not in shards
    ]
    rows.append((f"tiles/ ({len(shards)} shards)", human_bytes(sum(file.size for file in shards)), ""))
    rows.append((CARD, "written last", ""))
    return "## Files\n\n" + _table(("file", "size", "sha256 begins"), rows)


def _classes(card: Card) -> str:
    total = sum(entry.pixels for entry in card.mask_classes) or 1
    present = sorted((e for e in card.mask_classes if e.pixels), key=lambda entry: -entry.pixels)
    rows = [(str(entry.value), entry.name, f"{100 * entry.pixels / total:.2f} %") for entry in present]
    form = card.parameters.rendering.mask_classes
    return f"## Classes of the masks ({form})\n\n" + _table(("value", "class", "share"), rows)


def _rejected(card: Card) -> str:
    if not card.rejected:
        return ""
    rows = [(one.patch_id, one.reason) for one in card.rejected[:_REJECTED_SHOWN]]
    more = len(card.rejected) - len(rows)
    rest = f"\n\nand {more:,} more, all of them in {CARD}" if more else ""
    return "## Rejected patches\n\n" + _table(("patch", "reason"), rows) + rest


def _source(card: Card) -> str:
    name = f"record {card.source.record}, version {card.source.version}" if card.source.record else "a folder"
    rows = [(file.name, human_bytes(file.size), file.md5, file.verification) for file in card.source.files]
    return f"## Source: {name}\n\n" + _table(("file", "size", "md5", "verified"), rows)
