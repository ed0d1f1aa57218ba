"""Whether a published dataset is what its source and the person's choices would give today."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigearthnet import __version__
from bigearthnet.dataset.card import Card, PublishedFile, parameters
from bigearthnet.options import Rendering, Selection
from bigearthnet.source.old.record import Record

_PACKAGE = "bigearthnet-prefect"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was compared: as it was published, as it is now, and whether that is a change."""

    what: str
    published: str
    now: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was compared."""

    findings: tuple[Finding, ...]

    @property
    def up_to_date(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes

    @property
    def changes(self) -> list[Finding]:
        """What is a reason to prepare the dataset again."""
        return [finding for finding in self.findings if finding.changed]

    @property
    def decision(self) -> str:
        """One sentence of what follows."""
        if self.up_to_date:
            return "Up to date: nothing is fetched or written"
        reasons = "; ".join(f"{one.what}: {one.published} → {one.now}" for one in self.changes)
        return f"Going to prepare, because of {reasons}"


def compare(
    record: Record,
    md5s: Mapping[str, str | None],
    choices: tuple[Selection, Rendering],
    card: Card | None,
    missing: Sequence[PublishedFile],
) -> Comparison:
    """Compare what is published with what it would be made of now.

    Other versions of the libraries are told of, but are no reason to fetch and make everything again;
    another version of this project is.

    Args:
        record: the source as it is now.
        md5s: of the record's files; None for one that would have to be read for it.
        choices: the person's.
        card: of what is published, if anything is.
        missing: files that the card names and that are not there, or are others.
    """
    if card is None:
        return Comparison((Finding("the dataset", "not published", "to be published", changed=True),))
    return Comparison(
        (
            _differing(
                "version of the record",
                _edition(card.source.record, card.source.version),
                _edition(record.record_id, record.version),
            ),
            *_files(record, md5s, card),
            _differing("parameters", card.parameters.digest[:12], parameters(*choices).digest[:12]),
            _differing("version of this project", card.software.get(_PACKAGE, "not told"), __version__),
            _published(card, missing),
        )
    )


def markdown(comparison: Comparison, destination: str) -> str:
    """What was compared and decided, for a person."""
    lines = [f"# {destination}", "", f"{comparison.decision}.", ""]
    lines += ["| compared | published | now | |", "| --- | --- | --- | --- |"]
    for one in comparison.findings:
        mark = "changed" if one.changed else "same"
        lines.append(f"| {one.what} | {one.published} | {one.now} | {mark} |")
    return "\n".join(lines) + "\n"


def _edition(record_id: str, version: str) -> str:
    return f"{record_id} {version}".strip() or "a folder"


def _files(record: Record, md5s: Mapping[str, str | None], card: Card) -> list[Finding]:
    """A finding for each file that either of them has."""
    published = {file.name: f"{file.size:,} bytes, md5 {file.md5}" for file in card.source.files}
    now = {
        file.name: f"{file.size:,} bytes, md5 {md5s.get(file.name) or 'not known yet'}"
        for file in record.files
    }
    names = [*published, *(name for name in now if name not in published)]
    return [_differing(name, published.get(name, "not there"), now.get(name, "not there")) for name in names]


def _published(card: Card, missing: Sequence[PublishedFile]) -> Finding:
    total = f"{len(card.files)} files"
    if not missing:
        return Finding("published files", total, "all there and right", changed=False)
    named = ", ".join(file.name for file in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return Finding("published files", total, f"missing or damaged: {named}{more}", changed=True)


def _differing(what: str, published: str, now: str) -> Finding:
    return Finding(what, published, now, changed=published != now)
