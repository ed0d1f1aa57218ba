import hashlib
from pathlib import Path

import pytest

from bigearthnet.dataset.card import parse_card, read_card
from bigearthnet.errors import SourceError
from tests.support.cards import NAMES, card, entry, files

WHERE = "s3://bucket/data/dataset.json"


def test_a_card_says_which_files_there_are() -> None:
    found = parse_card(card(files()), WHERE)
    assert [(file.name, file.size, file.sha256) for file in found.files] == [
        (name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files().items()
    ]


def test_a_card_is_read_from_its_folder(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    (tmp_path / "dataset.json").write_bytes(card(files()))
    assert read_card(tmp_path) == parse_card(card(files()), WHERE)
    (tmp_path / "dataset.json").write_bytes(b"{}")
    with pytest.raises(SourceError, match=rf"^{tmp_path}/dataset\.json: expected a card .*; move it away"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"[]", b'{"format": "bigearthnet-prefect/1"}', card(files(), format="other/1")],
)
def test_what_is_no_card_is_named_with_its_place(data: bytes) -> None:
    message = rf"^{WHERE}: expected a card of format bigearthnet-prefect/1, found something else \(\d+ diff"
    with pytest.raises(SourceError, match=message):
        parse_card(data, WHERE)


@pytest.mark.parametrize(
    "name",
    [
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
        ".fetch/x",
        "tiles/.x",
        "dataset.json",
        "dataset.json/x",
        "x\x00y",
        "x\ny",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match=r"at files\.7\.name: .*expected a path below the card's folder"):
        parse_card(card({**files(), name: b"x"}), WHERE)


@pytest.mark.parametrize("sha256", ["../../x", "", "0" * 63, "0" * 65, "0" * 64 + "\n", "G" * 64, "A" * 64])
def test_a_digest_that_is_none_is_refused(sha256: str) -> None:
    bad = entry("x", b"") | {"sha256": sha256}
    with pytest.raises(SourceError, match=r"at files\.0\.sha256: String should match"):
        parse_card(card({}, files=[bad]), WHERE)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(SourceError, match=r"at files\.0\.size: Input should be greater than or equal to 0"):
        parse_card(card({}, files=[entry("x", b"") | {"size": -1}]), WHERE)


def test_a_name_that_is_there_twice_is_refused() -> None:
    twice = [entry(NAMES[0], b"one"), entry(NAMES[0], b"two")]
    with pytest.raises(SourceError, match=r"at files: .*expected each name once"):
        parse_card(card({}, files=twice), WHERE)
