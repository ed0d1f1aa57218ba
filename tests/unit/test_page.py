"""The page and the index of a dataset, compared with its manifest and zips."""

import json
import re
import zlib
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rasterio.warp import transform

from bigearthnet.dataset import page
from bigearthnet.dataset.documents import DOCUMENTS
from bigearthnet.dataset.index import index_bin
from bigearthnet.dataset.manifest import SCHEMA
from bigearthnet.dataset.page import page_html
from bigearthnet.dataset.pairs import choose_pairs
from bigearthnet.options import COUNTRIES, SPLITS
from tests.support import archives
from tests.support.drafts import draft_of
from tests.support.published import INDEX, PAGE, member

Rows = list[dict[str, Any]]


@pytest.fixture(params=["ben19", "clc"])
def folder(request: pytest.FixtureRequest, published_sample: Path) -> Path:
    found: Path = published_sample if request.param == "ben19" else request.getfixturevalue("published_codes")
    return found


def manifest(folder: Path) -> Rows:
    rows: Rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    return rows


def data_of(made: bytes) -> dict[str, Any]:
    """What a browser finds in the element `data`."""
    found = list[str]()

    class Parser(HTMLParser):
        inside = False

        def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = ("id", "data") in attrs

        def handle_data(self, data: str) -> None:
            if self.inside:
                found.append(data)

        def handle_endtag(self, _: str) -> None:
            self.inside = False

    Parser().feed(made.decode())
    data: dict[str, Any] = json.loads("".join(found))
    return data


def test_the_index_has_what_the_manifest_has_of_each_patch(folder: Path) -> None:
    rows, data = manifest(folder), data_of((folder / PAGE).read_bytes())
    classes = [entry["value"] for entry in data["classes"]]
    planes = np.frombuffer(zlib.decompress((folder / INDEX).read_bytes()), np.uint8).reshape(-1, len(rows))
    assert len(planes) == 7 + -(-len(classes) // 8)
    number = 0
    for tile in data["tiles"]:
        row, starts = 0, tile["starts"]
        for nth in range(number, number + tile["patches"]):
            column, step, place, low, high, mask_low, mask_high, *bits = planes[:, nth].tolist()
            row, there = (row + step) % 256, rows[nth]
            assert f"{tile['name']}_{column:02d}_{row:02d}" == there["patch_id"]
            assert [None, *SPLITS][place & 3] == there["split"]
            assert [None, *COUNTRIES][place >> 2] == there["country"]
            assert (low + 256 * high, mask_low + 256 * mask_high) == (there["image_size"], there["mask_size"])
            having = [value for i, value in enumerate(classes) if bits[i // 8] >> i % 8 & 1]
            assert having == [entry["value"] for entry in there["class_pixels"]]
            between = [zipped["between"] + len(there["patch_id"]) for zipped in data["zips"]]
            starts = [start + gap for start, gap in zip(starts, between, strict=True)]
            assert starts == [there["image_offset"], there["mask_offset"]]
            starts = [starts[0] + there["image_size"], starts[1] + there["mask_size"]]
        number += tile["patches"]
    assert number == len(rows)


def test_the_page_has_the_pictures_of_its_pairs(folder: Path) -> None:
    rows = {row["patch_id"]: row for row in manifest(folder)}
    data = data_of((folder / PAGE).read_bytes())
    assert [pair["id"] for pair in data["pairs"]] == list(rows), "a small dataset is shown whole"
    for pair in data["pairs"]:
        image, mask = (b64decode(text) for text in pair["pictures"])
        assert mask == member(folder, "masks", pair["id"])
        there = archives.pixels(member(folder, "images", pair["id"])).astype(int)
        assert image[:2] == b"\xff\xd8"
        assert np.abs(archives.pixels(image).astype(int) - there).mean() < 6
        row = rows[pair["id"]]
        assert data["tiles"][pair["tile"]]["name"] == row["tile"]
        assert [None, *SPLITS][pair["place"] & 3] == row["split"]
        having = [data["classes"][i]["value"] for i in pair["classes"]]
        assert having == [entry["value"] for entry in row["class_pixels"]]


def test_a_tile_without_a_chosen_patch_is_on_the_map_alone(
    tmp_path: Path, published_sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "_PAIRS", 2)
    data = data_of(page_html(draft_of(published_sample, tmp_path)))
    assert (len(data["pairs"]), len(data["tiles"])) == (2, 4)
    for pair in data["pairs"]:
        assert b64decode(pair["pictures"][1]) == member(published_sample, "masks", pair["id"])
        assert data["tiles"][pair["tile"]]["name"] == pair["id"][:-6]


def test_the_map_has_the_corners_of_each_tile(published_sample: Path) -> None:
    rows = manifest(published_sample)
    for tile in data_of((published_sample / PAGE).read_bytes())["tiles"]:
        inside = [row for row in rows if row["tile"] == tile["name"]]
        assert tile["country"] == 1 + COUNTRIES.index(inside[0]["country"])
        lons, lats = zip(*tile["corners"], strict=True)
        x, y = transform("OGC:CRS84", f"EPSG:{inside[0]['crs']}", lons, lats)
        corner = {(row["x_min"] - 1200 * row["column"], row["y_max"] + 1200 * row["row"]) for row in inside}
        ((left, top),) = corner
        right, bottom = left + 109_800, top - 109_800
        # Three digits after the point are a hundred metres at most.
        assert np.allclose(x, [left, right, right, left], atol=100)
        assert np.allclose(y, [top, top, bottom, bottom], atol=100)


def test_few_pairs_show_each_class_in_mixed_scenes_of_all_tiles(
    tmp_path: Path, published_sample: Path
) -> None:
    rows, draft = manifest(published_sample), draft_of(published_sample, tmp_path)
    tiles = [entry.tile for entry in draft.card.tiles]
    positions = {tile: [row for row in rows if row["tile"] == tile] for tile in tiles}
    total = {entry.value: entry.pixels["all"] for entry in draft.card.mask_classes if entry.pixels["all"]}

    def pixels(row: dict[str, Any]) -> dict[int, int]:
        return {entry["value"]: entry["pixels"] for entry in row["class_pixels"]}

    for limit in range(len(rows) + 2):
        chosen = choose_pairs(draft, limit)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(limit, len(rows))
        shown = [pixels(positions[tiles[tile]][nth]) for tile, nth in chosen]
        for value in sorted(total, key=lambda value: total[value])[:limit]:
            most = max(pixels(row).get(value, 0) for row in rows)
            assert any(patch.get(value, 0) >= min(most, 14_400 // 8) for patch in shown), value
        if limit >= len(total):
            assert {tile for tile, _ in chosen} == set(range(len(tiles)))


def test_a_mixed_scene_of_a_tile_that_is_not_shown_yet_comes_first(
    tmp_path: Path, published_sample: Path
) -> None:
    plain, half, mixed = ({3: 14_400}, {3: 7200, 4: 7200}, dict.fromkeys(range(2, 6), 3600))
    tiles = [[plain, half, mixed, mixed], [half, mixed], [half, mixed, plain]]
    card = draft_of(published_sample, tmp_path).card
    entries = [card.tiles[0].model_copy(update={"patches": len(tile)}) for tile in tiles]
    counts = card.counts.model_copy(update={"tiles": 3, "patches": 9})
    card = card.model_copy(update={"tiles": tuple(entries), "counts": counts})
    schema = pa.schema([SCHEMA.field("class_pixels")])
    with pq.ParquetWriter(tmp_path / "m.parquet", schema) as writer:
        for tile in tiles:
            lists = [[{"value": v, "pixels": n} for v, n in patch.items()] for patch in tile]
            writer.write_table(pa.table({"class_pixels": lists}, schema))
    draft = replace(draft_of(published_sample, tmp_path), card=card, manifest=tmp_path / "m.parquet")
    assert choose_pairs(draft, 3) == [(0, 2), (1, 1), (2, 1)]


def test_text_of_others_stays_text_and_marks_stay_theirs(tmp_path: Path, published_sample: Path) -> None:
    draft, title = draft_of(published_sample, tmp_path), '</title></script><img src="x"> {{script}} & ]]>'
    made = page_html(replace(draft, card=draft.card.model_copy(update={"title": title})))
    assert data_of(made)["title"] == title
    assert b"<img" not in made
    heading = made.partition(b"<h1>")[2].partition(b"</h1>")[0]
    assert heading == b"&lt;/title&gt;&lt;/script&gt;&lt;img src=&quot;x&quot;&gt; {{script}} &amp; ]]&gt;"


def test_a_page_names_no_server(published_sample: Path) -> None:
    text = (published_sample / PAGE).read_text()
    own = "http://www.w3.org/2000/svg"  # the name of a language, not asked for
    assert set(re.findall(r"\w+://[\w.]+[^\"' ]*", text.replace(r"https?:\/\/\S+", ""))) == {own}


def test_the_same_draft_gives_the_same_documents(tmp_path: Path, folder: Path) -> None:
    draft = draft_of(folder, tmp_path)
    assert {PAGE: page_html(draft), INDEX: index_bin(draft)} == {
        name: (folder / name).read_bytes() for name in DOCUMENTS if name in (PAGE, INDEX)
    }
