import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigearthnet.dataset import CARD
from bigearthnet.dataset.card import parse_card
from bigearthnet.errors import SourceError

WHERE = "s3://bucket/data/dataset.json"
Json = dict[str, Any]


@pytest.fixture
def card(published_sample: Path) -> Json:
    found: Json = json.loads((published_sample / CARD).read_bytes())
    return found


def test_a_card_is_read_as_it_was_written(published_sample: Path) -> None:
    data = (published_sample / CARD).read_bytes()
    card = parse_card(data, WHERE)
    assert card.dump() == data
    assert card.file("manifest.parquet").size == (published_sample / "manifest.parquet").stat().st_size


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b'{"format": "bigearthnet-prefect/2"}'])
def test_what_is_no_card_is_named(data: bytes) -> None:
    with pytest.raises(SourceError, match=rf"^{WHERE} is not a card of format bigearthnet-prefect/2 \("):
        parse_card(data, WHERE)


def name(text: str) -> Callable[[Json], object]:
    return lambda card: card["files"][0].update(name=text)


NAMES = ("../x", "tiles/../../x", "/etc/x", "//x", "", ".", "..", "./x", "tiles//x", "tiles/", ".lock")
MORE_NAMES = (".tiles/x", "tiles/.x", "dataset.json", "dataset.json/x", "x\x00y", "x\ny")
DIGESTS = ("../../x", "", "0" * 63, "0" * 65, "0" * 64 + "\n", "G" * 64, "A" * 64)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        *((name(text), r"files\.0\.name: .*must be a path below") for text in (*NAMES, *MORE_NAMES)),
        *(
            (lambda card, text=text: card["files"][0].update(sha256=text), r"files\.0\.sha256")
            for text in DIGESTS
        ),
        (lambda card: card["files"][0].update(size=-1), r"files\.0\.size"),
        (lambda card: card["files"].append(card["files"][0]), "files: .*must have each name once"),
        (lambda card: card["files"].pop(0), "files: .*must have both zips and the manifest"),
        (lambda card: card["tiles"][0].update(tile="x" * 101), r"tiles\.0\.tile"),
        (lambda card: card["tiles"][0]["images"].update(start=-1), r"tiles\.0\.images\.start"),
        (lambda card: card["tiles"][0]["masks"].update(stop=-1), r"tiles\.0\.masks\.stop"),
        (lambda card: card.update(format="bigearthnet-prefect/1"), "format"),
        (lambda card: card.update(more=1), "more"),
    ],
)
def test_a_card_that_leads_elsewhere_is_refused(
    card: Json, change: Callable[[Json], object], place: str
) -> None:
    change(card)
    with pytest.raises(SourceError, match=rf"\({place}"):
        parse_card(json.dumps(card).encode(), WHERE)


def test_a_name_in_a_folder_is_allowed(card: Json) -> None:
    card["files"].append({**card["files"][0], "name": "tiles/x..y.zip"})
    assert parse_card(json.dumps(card).encode(), WHERE).files[-1].name == "tiles/x..y.zip"
