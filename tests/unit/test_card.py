import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigearthnet.dataset import CARD
from bigearthnet.dataset.card import parse_card
from bigearthnet.errors import RejectedError, SourceError
from bigearthnet.source.record import DOCUMENT_BYTES
from bigearthnet.tile.convert import Rejected

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
    with pytest.raises(SourceError, match=rf"^{WHERE} is not a card of format bigearthnet-prefect/3 \("):
        parse_card(data, WHERE)


def name(text: str) -> Callable[[Json], object]:
    return lambda card: card["files"][0].update(name=text)


NAMES = (
    "x" * 201,
    "../x",
    "tiles/../../x",
    "/etc/x",
    "//x",
    "",
    ".",
    "..",
    "./x",
    "tiles//x",
    "tiles/",
    ".lock",
)
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
        (lambda card: card["tiles"][0]["images"].update(stop=10**30), r"tiles\.0\.images\.stop"),
        (lambda card: card["tiles"][0].update(tile="../x"), r"tiles\.0\.tile"),
        (lambda card: card.update(more=1), "more"),
        (lambda card: card.update({"\x1b[2J\n\x9b": 1}), r"\\x1b\[2J \\x9b: "),
        (lambda card: card.update({"x" * 1000: 1}), r"x{300}\)"),
    ],
)
def test_a_card_that_leads_elsewhere_is_refused(
    card: Json, change: Callable[[Json], object], place: str
) -> None:
    change(card)
    with pytest.raises(SourceError, match=rf"\({place}"):
        parse_card(json.dumps(card).encode(), WHERE)


def test_a_card_that_could_not_be_read_again_is_not_written(published_sample: Path) -> None:
    card = parse_card((published_sample / CARD).read_bytes(), WHERE)
    many = (Rejected("patch", "x" * 1000),) * (DOCUMENT_BYTES // 1000)
    with pytest.raises(RejectedError, match="2,097 rejected patches do not fit"):
        card.model_copy(update={"rejected": many}).dump()


@pytest.mark.parametrize(
    ("beginning", "item", "end"),
    [
        ('{"rejected":[', "{{}}", "]}"),
        ('{"files":[', "[]", "]}"),
        ("{", '"{:x}":1', "}"),
        ('{"software":{', '"{:x}":1', "}}"),
    ],
)
def test_the_worst_card_takes_little_memory(beginning: str, item: str, end: str) -> None:
    program = f"""
import resource
from bigearthnet.dataset.card import parse_card
from bigearthnet.source.record import DOCUMENT_BYTES as most
def memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
count = (most - 20) // 10 if ":" in {item!r} else (most - 20) // 3
items = ",".join({item!r}.format(i) for i in range(count)).encode()
before = memory()
for data in ({beginning!r}.encode() + items + {end!r}.encode(), bytes(most + 1)):
    assert len(data) <= most or not data[0]
    try: parse_card(data, "card")
    except ValueError as error: print(error)
print(memory() - before < 300)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    first, second, is_little = shown.splitlines()
    assert first.startswith("card is not a card")
    assert "at most 2,097,152 are read" in second
    assert is_little == "True"


def test_a_name_in_a_folder_is_allowed(card: Json) -> None:
    card["files"].append({**card["files"][0], "name": "tiles/x..y.zip"})
    assert parse_card(json.dumps(card).encode(), WHERE).files[-1].name == "tiles/x..y.zip"
