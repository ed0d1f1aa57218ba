"""The report of a run, as Markdown."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Final, Literal

import cv2
import numpy as np

from bigearthnet.dataset.card import Card
from bigearthnet.dataset.layout import CARD, QUALITY, QUALITY_SHEET
from bigearthnet.dataset.quality import Quality
from bigearthnet.progress import counted, human_bytes, human_time

_REJECTED_SHOWN: Final = 50
_DIGITS_WHOLE: Final = 16
_CREDIT_SECONDS: Final = 60
"""CPU-seconds of one CPU credit of EC2's T2 instances."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Seconds of wall clock and of CPU that a run took, and the patches that it converted or copied."""

    wall_seconds: float
    cpu_seconds: float
    patches: int
    done: Literal["converted", "copied"] = "converted"


def summary(card: Card, destination: str, effort: Effort) -> str:
    """Return one line: patches, rejected patches, time and CPU credits."""
    counts = card.counts
    rejected = f", {counts.rejected:,} rejected" if counts.rejected else ""
    return (
        f"{counted(counts.patches, 'patch')} in {destination}{rejected}; {effort.patches:,} {effort.done} in "
        f"{human_time(effort.wall_seconds)} with {effort.cpu_seconds:.1f} s of CPU "
        f"({effort.cpu_seconds / _CREDIT_SECONDS:.2f} CPU credits of a t2.micro)"
    )


def report_markdown(
    card: Card, destination: str, effort: Effort, preview: bytes, quality: bytes, sheet: bytes
) -> str:
    """Return the report, with the preview and the contact sheet of `quality` as pictures in the text."""
    sections = [
        f"# {counted(card.counts.patches, 'patch')}",
        summary(card, destination, effort) + ".",
        _picture("Images and masks", "png", preview),
        _files(card),
        _classes(card),
        _quality(Quality.model_validate_json(quality), sheet),
        _rejected(card),
        _source(card),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(escape(text) for text in line) + " |" for line in lines)


def escape(text: str) -> str:
    """Keep text of others, such as a record's title, from being read as Markdown or HTML."""
    for character in "\\|`*_[]<>":
        text = text.replace(character, f"\\{character}" if character not in "<>" else f"&#{ord(character)};")
    return " ".join(text.split())


def _files(card: Card) -> str:
    rows = [
        (file.name, human_bytes(file.size), _wrapped(file.sha256))
        for file in card.files
        if "/" not in file.name
    ]
    for name in card.parameters.packaging.formats:
        sizes = [file.size for file in card.files if file.name.startswith(f"{name}/")]
        rows.append((f"{name}/, {counted(len(sizes), 'file')}", human_bytes(sum(sizes)), f"see {CARD}"))
    return "## Files\n\n" + table(("file", "size", "SHA-256"), [*rows, (CARD, "", "")])


def _wrapped(digest: str) -> str:
    """Return a digest with spaces, where a narrow column breaks it."""
    return " ".join(wrap(digest, _DIGITS_WHOLE))


def _classes(card: Card) -> str:
    found = [(entry.pixels["all"], entry) for entry in card.mask_classes if entry.pixels["all"]]
    found.sort(key=lambda one: -one[0])
    total = sum(pixels for pixels, _ in found)
    rows = [(str(entry.value), entry.name, f"{100 * pixels / total:.2f} %") for pixels, entry in found]
    form = card.parameters.rendering.mask_classes
    return f"## Classes of the masks ({form})\n\n" + table(("value", "class", "share"), rows)


def _picture(alt: str, kind: Literal["png", "jpeg"], data: bytes) -> str:
    return f"![{alt}](data:image/{kind};base64,{base64.b64encode(data).decode()})"


def _quality(quality: Quality, sheet: bytes) -> str:
    rows = [
        (
            check.name,
            check.measure,
            f"{check.bad:,} of {check.checked:,}",
            f"{check.worst[0].value:g}" if check.worst else "",
        )
        for check in quality.checks
    ]
    head = ("check", "what is measured", "bad patches", "worst value")
    worst = (
        f"The ten worst of each check, a row a check in this order, the worst first. {QUALITY} names them; "
        f"{QUALITY_SHEET} is twice as large."
    )
    picture = _picture("The worst patches of each check", "jpeg", _reduced(sheet))
    return "\n\n".join(["## Quality", table(head, rows), worst, picture])


def _reduced(sheet: bytes) -> bytes:
    """Return a picture in half its size as a JPEG, some 100 KB: Prefect's database keeps the reports."""
    pixels = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None  # noqa: S101 - a file of the dataset, whose digest was compared
    half = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", half)[1].tobytes()


def _rejected(card: Card) -> str:
    if not card.rejected:
        return ""
    rows = [(one.patch_id, one.reason) for one in card.rejected[:_REJECTED_SHOWN]]
    more = len(card.rejected) - len(rows)
    rest = f"\n\nand {more:,} more, all of them in {CARD}" if more else ""
    return "## Rejected patches\n\n" + table(("patch", "reason"), rows) + rest


def _source(card: Card) -> str:
    name = f"record {card.source.record}, version {card.source.version}" if card.source.record else "a folder"
    # A list: no table of the long names and digests fits beside Prefect's side panel.
    files = "\n".join(
        f"- {escape(file.name)}, {human_bytes(file.size)}, {file.md5} ({file.verification})"
        for file in card.source.files
    )
    return f"## Source: {escape(name)}\n\n{files}"
