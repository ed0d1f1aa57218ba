"""Compare a published dataset with the record that it was made from, as the record is now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bigearthnet.dataset.card import Card
from bigearthnet.dataset.published import Published
from bigearthnet.dataset.report import escape
from bigearthnet.errors import SourceError
from bigearthnet.options import Packaging, Rendering, Selection
from bigearthnet.progress import some
from bigearthnet.source.record import Record

_ABSENT: Final = "not there"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was compared, as it was published and as it is now."""

    what: str
    published: str
    now: str

    @property
    def differs(self) -> bool:
        """True if the dataset has to be prepared again."""
        return self.published != self.now

    def __str__(self) -> str:
        return f"{self.what}: {self.published} → {self.now}"


def compare_with_record(
    record: Record, md5s: Mapping[str, str | None], published: Published
) -> list[Finding]:
    """Compare a published dataset with its record as it is now.

    Of `md5s` those are None that are not known without reading the file.
    """
    made_of = published.card.source
    before = {file.name: f"{file.size:,} bytes, md5 {file.md5}" for file in made_of.files}
    now = {
        file.name: f"{file.size:,} bytes, md5 {md5s.get(file.name) or 'not known yet'}"
        for file in record.files
    }
    before_id, now_id = _edition(made_of.record, made_of.version), _edition(record.record_id, record.version)
    files = [Finding(name, before.get(name, _ABSENT), now.get(name, _ABSENT)) for name in before | now]
    missing = some([file.name for file in published.missing], 10)
    state = f"missing or damaged: {missing}" if missing else "all intact"
    edition, intact = Finding("record", before_id, now_id), Finding("published files", "all intact", state)
    return [edition, *files, intact]


def decision(findings: Sequence[Finding]) -> str:
    """Return a sentence that says what follows from a comparison."""
    changes = "; ".join(str(one) for one in findings if one.differs)
    return f"The dataset will be prepared again: {changes}." if changes else "The dataset is up to date."


def comparison_markdown(findings: Sequence[Finding], destination: str) -> str:
    """Return what was compared and decided, as Markdown."""
    # A list: no table of the long names and digests fits beside Prefect's side panel.
    lines = (str(one) if one.differs else f"{one.what}: {one.published}, as before" for one in findings)
    listed = "\n".join(f"- {escape(line)}" for line in lines)
    return f"# {escape(destination)}\n\n{escape(decision(findings))}\n\n{listed}\n"


def record_of(card: Card) -> str:
    """Return the id of the record that a dataset was made from.

    Raises:
        SourceError: it was made from a folder or bucket, which its card does not name.
    """
    if not card.source.record:
        raise SourceError("the dataset was made from a folder or bucket. Name it as the source.")
    return card.source.record


def require_prepared(published: Published, url: str) -> None:
    """Check that a dataset is no subset of another one.

    Raises:
        SourceError: it is one, so that it cannot be made from a record.
    """
    if published.card.subset:
        raise SourceError(
            f"{url} is a subset of another dataset. Update that one, then run subset again with the same "
            "options."
        )


def option_changes(card: Card, selection: Selection, rendering: Rendering, packaging: Packaging) -> list[str]:
    """Return what differs from the options of a dataset, such as `countries: Finland → all`."""
    made = card.parameters
    before = _options(made.selection, made.rendering, made.packaging)
    now = _options(selection, rendering, packaging)
    return [f"{name}: {before[name]} → {now[name]}" for name in now if before[name] != now[name]]


def _options(*models: Selection | Rendering | Packaging) -> dict[str, str]:
    shown = {name: text for model in models for name, text in model.in_words().items()}
    return {name: text or ("none" if name == "formats" else "all") for name, text in shown.items()}


def _edition(record_id: str, version: str) -> str:
    return f"{record_id} {version}".strip() or "a folder"
