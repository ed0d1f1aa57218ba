"""Choosing patches of a published dataset: each condition against a list comprehension over the rows."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from bigearthnet.classes import BEN19
from bigearthnet.dataset import Card
from bigearthnet.dataset.card import parse_card
from bigearthnet.dataset.choice import choose_patches
from bigearthnet.dataset.manifest import SCHEMA, open_manifest
from bigearthnet.errors import SelectionError
from bigearthnet.options import COUNTRIES, LABELS, SPLITS, SubsetSelection, explain
from bigearthnet.plan.metadata import s1_name

TILES = [f"S2A_MSIL2A_2017{month:02}13T101031_N9999_R022_T3{i}UUP" for i, month in enumerate((1, 6, 8, 12))]
WATER, FOREST, PEAT = "Inland waters", "Mixed forest", "Inland wetlands"
PIXELS = 14_400
Row = dict[str, Any]


def draw(tile: str, cell: int, generator: random.Random) -> Row:
    """A patch of some classes, of which the later ones are rare; one of ten is not in the metadata."""
    sizes = [generator.random() ** 4 * 0.3**i * (generator.random() < 0.5) for i in range(6)]
    values = [0, 7, 10, 15, 17, 18]
    pixels = {value: int(PIXELS * size / 3) for value, size in zip(values, sizes, strict=True)}
    rest = generator.choice([255, 0, 2])
    pixels = {value: count for value, count in sorted(pixels.items()) if count and value != rest}
    pixels[rest] = PIXELS - sum(pixels.values())
    known = generator.random() < 0.9
    labels = [BEN19[value][0] for value in sorted(pixels) if value != 255]
    column, row = divmod(cell, 100)
    facts: Row = {
        "split": generator.choice(SPLITS),
        "country": generator.choice(COUNTRIES[:4]),
        "labels": labels,
        "contains_seasonal_snow": generator.random() < 0.2,
        "contains_cloud_or_shadow": generator.random() < 0.2,
        "s1_name": s1_name(tile, cell, b"A20170613T165043"),
    }
    return {
        "patch_id": f"{tile}_{column:02}_{row:02}",
        "tile": tile,
        "column": column,
        "row": row,
        "date": date(2017, int(tile[15:17]), 13),
        "month": int(tile[15:17]),
        "unlabelled": pixels.get(255, 0) / PIXELS,
        "class_pixels": [{"value": v, "pixels": n} for v, n in sorted(pixels.items())],
        **(facts if known else {}),
    }


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    generator = random.Random(7)
    cells = {tile: sorted(generator.sample(range(9999), 80)) for tile in TILES}
    return [draw(tile, cell, generator) for tile in TILES for cell in cells[tile]]


@pytest.fixture(scope="module")
def manifest(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("choice") / "manifest.parquet"
    with open_manifest(path) as writer:
        for tile in TILES:
            writer.write_table(pa.Table.from_pylist([row for row in rows if row["tile"] == tile], SCHEMA))
    return path


@pytest.fixture(scope="module")
def card(published_sample: Path) -> Card:
    found = parse_card((published_sample / "dataset.json").read_bytes(), "")
    entries = [found.tiles[0].model_copy(update={"tile": tile, "patches": 80}) for tile in TILES]
    return found.model_copy(update={"tiles": tuple(entries)})


def chosen(manifest: Path, card: Card, **selection: Any) -> list[str]:
    plan, _ = choose_patches(pq.ParquetFile(manifest), card, SubsetSelection(**selection))
    return [patch for tile in plan.tiles for patch in tile.patch_ids]


def shares(rows: list[Row], ids: list[str]) -> dict[int, float]:
    """Share of each class among the labelled pixels of patches."""
    wanted, pixels = set(ids), Counter[int]()
    for row in rows:
        if row["patch_id"] in wanted:
            pixels.update({one["value"]: one["pixels"] for one in row["class_pixels"] if one["value"] != 255})
    return {value: pixels[value] / pixels.total() for value in (0, 2, 7, 10, 15, 17, 18)}


CONDITIONS: list[tuple[Row, Callable[[Row], bool]]] = [
    ({}, lambda _: True),
    ({"tiles": ["*_T31UUP", "*T33*"]}, lambda row: row["tile"][-5:] in ("31UUP", "33UUP")),
    ({"splits": ["test", "train"]}, lambda row: row.get("split") in ("test", "train")),
    ({"countries": ["Finland"]}, lambda row: row.get("country") == "Finland"),
    ({"months": [6, 7, 8]}, lambda row: row["date"].month in (6, 7, 8)),
    ({"max_unlabelled": 0.0}, lambda row: all(one["value"] != 255 for one in row["class_pixels"])),
    ({"max_unlabelled": 0.7}, lambda row: row["unlabelled"] <= 0.7),
    (
        {"snow_cloud_shadow": "exclude"},
        lambda row: row.get("contains_seasonal_snow") is row.get("contains_cloud_or_shadow") is False,
    ),
    ({"with_labels": [WATER, PEAT]}, lambda row: bool({WATER, PEAT} & set(row.get("labels", [])))),
    ({"without_labels": [FOREST]}, lambda row: FOREST not in row.get("labels", [FOREST])),
    (
        {"with_labels": [WATER], "without_labels": [FOREST], "splits": ["train"], "months": [6, 12]},
        lambda row: (
            row.get("split") == "train"
            and WATER in row["labels"]
            and FOREST not in row["labels"]
            and row["month"] in (6, 12)
        ),
    ),
]


@pytest.mark.parametrize(("selection", "condition"), CONDITIONS, ids=[str(one[0]) for one in CONDITIONS])
def test_the_patches_that_match_are_chosen_in_their_order(
    manifest: Path, card: Card, rows: list[Row], selection: Row, condition: Callable[[Row], bool]
) -> None:
    expected = [row["patch_id"] for row in rows if condition(row)]
    assert expected
    assert selection == {} or len(expected) < len(rows)
    assert chosen(manifest, card, **selection) == expected
    assert chosen(manifest, card, **selection, max_patches=3) == expected[:3]
    some = chosen(manifest, card, **selection, max_patches=5, choose="random")
    assert len(some) == 5
    assert some != expected[:5]
    assert set(some) < set(expected)


def test_what_the_record_says_of_the_chosen_patches_comes_along(
    manifest: Path, card: Card, rows: list[Row]
) -> None:
    selection = SubsetSelection(choose="random", max_patches=100)
    plan, metadata = choose_patches(pq.ParquetFile(manifest), card, selection)
    wanted = {patch for tile in plan.tiles for patch in tile.patch_ids}
    known = [row for row in rows if row["patch_id"] in wanted and "split" in row]
    found = [(tile, one) for tile, listed in metadata.items() for one in listed]
    assert 0 < len(known) == len(found) < 100
    for row, (tile, one) in zip(known, found, strict=True):
        assert (row["tile"], 100 * row["column"] + row["row"]) == (tile, one["cell"])
        assert (row["split"], row["country"]) == (SPLITS[one["split"]], COUNTRIES[one["country"]])
        assert row["labels"] == [label for i, label in enumerate(LABELS) if one["labels"] >> i & 1]
        assert one["s1"] == b"A20170613T165043"
        assert (one["snow"], one["cloud"]) == (
            row["contains_seasonal_snow"],
            row["contains_cloud_or_shadow"],
        )


@pytest.mark.parametrize("choose", ["random", "balanced"])
def test_a_seed_gives_the_same_patches_and_a_smaller_choice_is_part_of_a_larger(
    manifest: Path, card: Card, choose: str
) -> None:
    few = chosen(manifest, card, choose=choose, max_patches=20)
    assert few == chosen(manifest, card, choose=choose, max_patches=20)
    assert set(few) < set(chosen(manifest, card, choose=choose, max_patches=60))
    assert set(few) != set(chosen(manifest, card, choose=choose, max_patches=20, seed=1))
    assert few == sorted(few)
    assert len(chosen(manifest, card, choose=choose, max_patches=319)) == 319
    assert len(chosen(manifest, card, choose=choose, max_patches=1000)) == 320


def test_random_patches_are_those_with_the_first_digests(manifest: Path, card: Card, rows: list[Row]) -> None:
    def digest(patch: str) -> str:
        return hashlib.sha256(f"5 {patch}".encode()).hexdigest()

    ids = [row["patch_id"] for row in rows]
    expected = sorted(sorted(ids, key=digest)[:9])
    assert chosen(manifest, card, choose="random", max_patches=9, seed=5) == expected


def test_a_balanced_choice_raises_the_smallest_class(manifest: Path, card: Card, rows: list[Row]) -> None:
    before = shares(rows, [row["patch_id"] for row in rows])
    rarest = min(before, key=lambda value: before[value])
    for seed in range(3):
        found = shares(rows, chosen(manifest, card, choose="balanced", max_patches=60, seed=seed))
        random_ones = shares(rows, chosen(manifest, card, choose="random", max_patches=60, seed=seed))
        assert found[rarest] > 1.5 * max(before[rarest], random_ones[rarest])
        assert np.std(list(found.values())) < np.std(list(random_ones.values()))


def test_patches_without_a_class_come_last(manifest: Path, card: Card, rows: list[Row]) -> None:
    bare = {row["patch_id"] for row in rows if row["unlabelled"] == 1}
    assert bare
    rest = len(rows) - len(bare)
    assert not bare & set(chosen(manifest, card, choose="balanced", max_patches=rest))
    assert bare & set(chosen(manifest, card, choose="balanced", max_patches=rest + 1))


@pytest.mark.parametrize(
    ("selection", "splits", "said"),
    [
        ({"months": [3]}, {"train": 1}, "no patch matches months = 3. The dataset has 24 patches"),
        ({"splits": ["test"], "months": [3]}, {}, "prepared without the record's metadata: select by tiles"),
        ({"tiles": ["*_T29*"]}, {"train": 1}, r"no tiles match \*_T29\*. The dataset has 4 \(S2A"),
    ],
)
def test_nothing_that_matches_is_said_in_words(
    manifest: Path, card: Card, selection: Row, splits: dict[str, int], said: str
) -> None:
    counts = card.counts.model_copy(update={"splits": splits})
    with pytest.raises(SelectionError, match=said):
        chosen(manifest, card.model_copy(update={"counts": counts}), **selection)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"with_labels": ["rice"]}, "with_labels: there is no 'rice'. Choose from Urban fabric, "),
        ({"without_labels": ["Urban"]}, "without_labels: there is no 'Urban'. Did you mean Urban fabric?"),
        ({"months": [13]}, "months: Input should be less than or equal to 12"),
        ({"max_unlabelled": 2}, "max_unlabelled: Input should be less than or equal to 1"),
        ({"max_patches": -1}, "max_patches: the number of patches cannot be negative"),
    ],
)
def test_invalid_selections_are_explained(selection: Row, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SubsetSelection.model_validate(selection)
    assert explain(caught.value).startswith(said)
