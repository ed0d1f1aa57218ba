"""What a published dataset is compared with, and what follows."""

import hashlib
import json

import pytest
from bigearthnet.source.old.record import Record, RecordFile

from bigearthnet import __version__
from bigearthnet.dataset.card import Card, PublishedFile, parse_card
from bigearthnet.dataset.freshness import Comparison, compare, markdown
from bigearthnet.options import Rendering, Selection
from tests.support import cards

ARCHIVES = {"BigEarthNet-S2.tar.zst": 59, "Reference_Maps.tar.zst": 3}
MD5S: dict[str, str | None] = {name: hashlib.md5(name.encode()).hexdigest() for name in ARCHIVES}  # noqa: S324


def record(version: str = "2.0.0", record_id: str = "1") -> Record:
    files = tuple(RecordFile(name, size, MD5S[name], "https://x/") for name, size in ARCHIVES.items())
    return Record("zenodo", record_id, version, "it", files)


def published(**software: str) -> Card:
    """What was published of that record with the choices that nobody changed."""
    files = [
        {"name": name, "size": size, "md5": MD5S[name], "verification": "md5 as in the record"}
        for name, size in ARCHIVES.items()
    ]
    choices = [Selection().model_dump(mode="json"), Rendering().model_dump(mode="json")]
    digest = hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()
    data = cards.card(
        cards.files(),
        source={"kind": "zenodo", "record": "1", "version": "2.0.0", "title": "it", "files": files},
        parameters={"selection": {}, "rendering": {}, "digest": digest},
        software={"bigearthnet-prefect": __version__, "numpy": "0.1"} | software,
    )
    return parse_card(data, "a test")


def found(now: Record, card: Card | None, *missing: PublishedFile, **choices: object) -> Comparison:
    rendering = Rendering.model_validate(choices)
    return compare(now, MD5S, (Selection(), rendering), card, missing)


def changed(comparison: Comparison) -> list[str]:
    return [one.what for one in comparison.changes]


def test_nothing_changed() -> None:
    comparison = found(record(), published())
    assert comparison.up_to_date
    assert comparison.decision == "Up to date: nothing is fetched or written"
    assert [one.what for one in comparison.findings] == [
        "version of the record",
        *ARCHIVES,
        "parameters",
        "version of this project",
        "published files",
    ]


def test_other_versions_of_libraries_are_no_reason() -> None:
    assert found(record(), published(numpy="99")).up_to_date


@pytest.mark.parametrize(
    ("comparison", "what"),
    [
        (found(record(), None), "the dataset"),
        (found(record(version="2.1.0"), published()), "version of the record"),
        (found(record(record_id="2"), published()), "version of the record"),
        (found(record(), published(), stretch="minmax"), "parameters"),
        (found(record(), published(**{"bigearthnet-prefect": "0.0.0"})), "version of this project"),
        (found(record(), published(), published().files[3]), "published files"),
    ],
)
def test_a_change_is_a_reason(comparison: Comparison, what: str) -> None:
    assert not comparison.up_to_date
    assert changed(comparison) == [what]
    assert comparison.decision.startswith(f"Going to prepare, because of {what}: ")


@pytest.mark.parametrize("name", ARCHIVES)
def test_another_md5_is_a_reason(name: str) -> None:
    comparison = compare(record(), MD5S | {name: "f" * 32}, (Selection(), Rendering()), published(), ())
    assert changed(comparison) == [name]


def test_an_md5_that_is_not_known_is_a_reason() -> None:
    comparison = compare(record(), dict.fromkeys(MD5S), (Selection(), Rendering()), published(), ())
    assert changed(comparison) == [*ARCHIVES]
    assert "md5 not known yet" in comparison.decision


def test_a_file_that_came_or_went_is_a_reason() -> None:
    one = Record("zenodo", "1", "2.0.0", "it", record().files[:1])
    assert changed(found(one, published())) == ["Reference_Maps.tar.zst"]
    more = Record("zenodo", "1", "2.0.0", "it", (*record().files, RecordFile("new", 1, "a" * 32, "")))
    assert changed(found(more, published())) == ["new"]


def test_damaged_files_are_named_up_to_five() -> None:
    comparison = found(record(), published(), *published().files)
    assert f"{published().files[0].name}, " in comparison.decision
    assert comparison.decision.endswith(f"and {len(published().files) - 5} more")


def test_the_text_for_a_person_has_a_row_for_each_finding() -> None:
    text = markdown(found(record(version="3"), published()), "s3://a/b")
    assert text.startswith("# s3://a/b\n")
    assert "| version of the record | 1 2.0.0 | 1 3 | changed |" in text
    assert text.count("| same |") == 5
