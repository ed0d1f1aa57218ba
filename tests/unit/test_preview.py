"""The contact sheet and the report of a run."""

import json
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.dataset import CARD, MANIFEST, PREVIEW
from bigearthnet.dataset.card import Card, parse_card
from bigearthnet.dataset.preview import contact_sheet, pick
from bigearthnet.dataset.report import Effort, report_markdown, summary, table
from tests.support import archives
from tests.support.published import FILES, member

EFFORT = Effort(3725.0, 90.0, 3)


@pytest.fixture
def card(published_sample: Path) -> Card:
    return parse_card((published_sample / CARD).read_bytes(), "a test")


@pytest.fixture
def quality(published_sample: Path) -> bytes:
    return (published_sample / "quality.json").read_bytes()


@pytest.fixture
def report(published_sample: Path, quality: bytes) -> Callable[[Card], str]:
    sheet = (published_sample / "quality.png").read_bytes()
    return lambda card: report_markdown(card, "/data", EFFORT, b"\x89PNG", quality, sheet)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9000), max_size=120), st.integers(0, 12))
def test_picked_patches_are_spread_evenly_over_all(counts: list[int], limit: int) -> None:
    picked = pick(counts, limit)
    assert all(0 <= nth < counts[tile] for tile, nth in picked)
    numbered = [sum(counts[:tile]) + nth for tile, nth in picked]
    chosen, total = min(limit, sum(counts)), sum(counts)
    # The middle of each of so many equal parts.
    assert numbered == [int((i + 0.5) * total / chosen) for i in range(chosen)]


@pytest.mark.parametrize(
    ("pairs", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 3, 2), (6, 3, 2)]
)
def test_a_sheet_shows_every_pair_side_by_side(pairs: int, columns: int, rows: int) -> None:
    pictures = np.random.default_rng(1).integers(0, 200, (pairs, 2, 120, 120, 3)).astype(np.uint8)
    sheet = archives.pixels(contact_sheet([(image, mask) for image, mask in pictures])).transpose(1, 2, 0)
    assert sheet.shape == (rows * 128 + 8, columns * 252 + 8, 3)
    left = np.ones(sheet.shape[:2], bool)
    for i, (image, mask) in enumerate(pictures):
        top, at = 8 + i // 3 * 128, 8 + i % 3 * 252
        for picture, x in ((image, at), (mask, at + 124)):
            np.testing.assert_array_equal(sheet[top : top + 120, x : x + 120], picture)
            left[top : top + 120, x : x + 120] = False
    assert (sheet[left] == 255).all()


def test_the_preview_shows_images_and_coloured_masks(published_sample: Path, card: Card) -> None:
    sheet = archives.pixels((published_sample / PREVIEW).read_bytes()).transpose(1, 2, 0)
    ids = pq.read_table(published_sample / MANIFEST).column("patch_id").to_pylist()
    classes = {entry.value: entry.colour for entry in card.mask_classes}
    for i, nth in enumerate((1, 4, 6, 9, 12, 14, 17, 20, 22)):
        top, at = 8 + i // 3 * 128, 8 + i % 3 * 252
        image = archives.pixels(member(published_sample, "images", ids[nth])).transpose(1, 2, 0)
        mask = archives.pixels(member(published_sample, "masks", ids[nth]))[0]
        np.testing.assert_array_equal(sheet[top : top + 120, at : at + 120], image)
        coloured = sheet[top : top + 120, at + 124 : at + 244]
        expected = np.array([[classes[value] for value in row] for row in mask.tolist()])
        np.testing.assert_array_equal(coloured, expected)


def test_the_summary_says_what_the_run_took(card: Card) -> None:
    assert summary(card, "/data", EFFORT) == (
        "24 patches in /data; 3 converted in 1 h 2 min with 90.0 s of CPU (1.50 CPU credits of a t2.micro)"
    )
    rejected = card.model_copy(update={"counts": card.counts.model_copy(update={"rejected": 1200})})
    assert summary(rejected, "/data", EFFORT).startswith("24 patches in /data, 1,200 rejected; 3 converted")


def test_a_digest_of_the_report_fits_beside_prefects_side_panel(
    card: Card, report: Callable[[Card], str]
) -> None:
    """A browser breaks a cell at its spaces only."""
    rows = [line.split("|") for line in report(card).splitlines()]
    files = [row for row in rows if len(row) > 2 and row[1].strip().replace("\\", "") in FILES]
    assert len(files) == len(FILES)
    assert max(len(word) for row in files for word in row[3].split()) == 16


def test_the_report_lists_files_classes_and_sources(
    card: Card, quality: bytes, report: Callable[[Card], str]
) -> None:
    text = report(card)
    assert text.startswith("# 24 patches\n\n24 patches in /data;")
    assert "(data:image/png;base64,iVBORw==)" in text
    assert "Rejected" not in text
    for file in card.files:
        assert file.sha256 not in text
        assert file.sha256 in text.replace(" ", "")
    for source in card.source.files:
        assert source.md5 in text
    for check in json.loads(quality)["checks"]:
        assert f"| {check['bad']} of 24 |" in text.partition(f"| {check['name']} | ")[2].partition("\n")[0]
    rows = [line for line in text.splitlines() if line.endswith(" % |")]
    shares = [float(line.split("|")[3].strip(" %")) for line in rows]
    total = 24 * 14_400
    expected = sorted(
        (entry.pixels["all"] for entry in card.mask_classes if entry.pixels["all"]), reverse=True
    )
    assert shares == [pytest.approx(100 * pixels / total, abs=0.006) for pixels in expected]


def test_the_report_shows_the_worst_patches_in_half_their_size(
    published_sample: Path, card: Card, report: Callable[[Card], str]
) -> None:
    (jpeg,) = re.findall(r"\(data:image/jpeg;base64,(\S+)\)", report(card).partition("## Quality")[2])
    assert len(jpeg) < 400_000
    sheet = archives.pixels((published_sample / "quality.png").read_bytes()).astype(float)
    halves = sheet.reshape(3, sheet.shape[1] // 2, 2, sheet.shape[2] // 2, 2).mean(axis=(2, 4))
    assert np.abs(archives.pixels(b64decode(jpeg)) - halves).mean() < 3


def test_the_report_names_some_of_many_rejected_patches(card: Card, report: Callable[[Card], str]) -> None:
    one = {"patch_id": "p", "reason": "bad"}
    many = Card.model_validate({**card.model_dump(), "rejected": [one] * 53})
    text = report(many)
    assert text.count("| p | bad |") == 50
    assert "and 3 more, all of them in dataset.json" in text
    few = Card.model_validate({**card.model_dump(), "rejected": [one] * 50})
    assert " more, all of them" not in report(few)


def test_text_of_others_is_not_read_as_markdown(card: Card, report: Callable[[Card], str]) -> None:
    source = card.source.model_copy(update={"record": "1", "version": "<img>"})
    assert "<img>" not in report(card.model_copy(update={"source": source}))
    assert table(("a",), [("x|y `z` *b* <img> [l](u) _i_\nnew",)]).splitlines() == [
        "| a |",
        "| --- |",
        r"| x\|y \`z\` \*b\* &#60;img&#62; \[l\](u) \_i\_ new |",
    ]
