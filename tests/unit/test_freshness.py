"""A dataset compared with its record, and with other options."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bigearthnet.dataset import CARD, Card, Published, freshness
from bigearthnet.dataset.card import parse_card
from bigearthnet.errors import SourceError
from bigearthnet.options import Packaging, Rendering, Selection
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.store import StoredFile


@pytest.fixture
def card(published_sample: Path) -> Card:
    """The card of a dataset that was made from a record of Zenodo."""
    found = parse_card((published_sample / CARD).read_bytes(), "a test")
    used = found.source.model_copy(update={"kind": "zenodo", "record": "1", "version": "2.0.0"})
    return found.model_copy(update={"source": used})


@pytest.fixture
def published(card: Card) -> Published:
    """That dataset, whole."""
    return Published(card, b"", {file.name: StoredFile(file.name, file.size, "") for file in card.files})


@pytest.fixture
def record(card: Card) -> Record:
    """Its record, unchanged."""
    files = tuple(RecordFile(file.name, file.size, file.md5, "https://x/") for file in card.source.files)
    return Record("zenodo", "1", "2.0.0", "a record", files)


def compared(record: Record, published: Published, **md5s: str | None) -> list[freshness.Finding]:
    known = {file.name: file.md5 for file in record.files} | md5s
    return freshness.compare_with_record(record, known, published)


def test_nothing_changed(record: Record, published: Published) -> None:
    found = compared(record, published)
    assert not any(one.differs for one in found)
    assert freshness.decision(found) == "The dataset is up to date."
    names = [file.name for file in record.files]
    assert [one.what for one in found] == ["record", *names, "published files"]


def test_each_change_is_a_reason(record: Record, published: Published) -> None:
    first, *others = record.files
    new, smaller = RecordFile("new", 1, "a" * 32, ""), replace(first, size=1)
    for found, what in [
        (compared(replace(record, version="2.1.0"), published), "record: 1 2.0.0 → 1 2.1.0"),
        (compared(replace(record, record_id="2"), published), "record: 1 2.0.0 → 2 2.0.0"),
        (compared(replace(record, record_id="", version=""), published), "record: 1 2.0.0 → a folder"),
        (compared(record, published, **{first.name: "f" * 32}), f"{first.name}: .* md5 {'f' * 32}"),
        (compared(record, published, **{first.name: None}), f"{first.name}: .* md5 not known yet"),
        (compared(replace(record, files=(smaller, *others)), published), f"{first.name}: .* → 1 bytes"),
        (compared(replace(record, files=tuple(others)), published), f"{first.name}: .* → not there"),
        (compared(replace(record, files=(*record.files, new)), published), "new: not there → 1 bytes"),
        (compared(record, replace(published, intact={})), "published files: all intact → missing or da"),
    ]:
        (change,) = (one for one in found if one.differs)
        assert re.match(what, str(change)), change
        assert freshness.decision(found) == f"The dataset will be prepared again: {change}."


def test_the_comparison_is_listed(record: Record, published: Published) -> None:
    text = freshness.comparison_markdown(compared(replace(record, version="3"), published), "s3://a/b")
    assert text.startswith("# s3://a/b\n\nThe dataset will be prepared again: record: 1 2.0.0 → 1 3.\n")
    assert "- record: 1 2.0.0 → 1 3\n" in text
    foreign = freshness.comparison_markdown(compared(replace(record, version="<img> [a](b)"), published), "x")
    assert not re.search(r"<img|[^\\]\[", foreign)
    assert text.count(", as before\n") == len(record.files) + 1
    assert "|" not in text, "a table runs under the side panel of the UI"
    text = freshness.comparison_markdown(compared(replace(record, version="![](//x)"), published), "a")
    assert "![](" not in text


def test_the_record_of_a_dataset_is_in_its_card(card: Card, published_sample: Path) -> None:
    assert freshness.record_of(card) == "1"
    of_a_folder = parse_card((published_sample / CARD).read_bytes(), "a test")
    with pytest.raises(SourceError, match=r"was made from a folder or bucket\. Name it as the source"):
        freshness.record_of(of_a_folder)


def test_other_options_are_named_in_words(card: Card) -> None:
    made = card.parameters
    assert freshness.option_changes(card, made.selection, made.rendering, made.packaging) == []
    finland = card.model_copy(
        update={"parameters": made.model_copy(update={"selection": Selection(countries=("Finland",))})}
    )
    rendering = Rendering(mask_classes="clc", percentiles=(1, 99))
    selection = Selection(splits=("test", "train"), max_patches=3)
    packaging = Packaging(formats=("parquet",))
    assert freshness.option_changes(finland, selection, rendering, packaging) == [
        "splits: all → test, train",
        "countries: Finland → all",
        "max_patches: 0 → 3",
        "percentiles: 2.0, 98.0 → 1.0, 99.0",
        "mask_classes: ben19 → clc",
        "formats: none → parquet",
    ]
