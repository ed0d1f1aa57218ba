"""What the checks find, compared with the pixels, in a record with flaws."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bigearthnet.classes import BEN19, mask_classes
from bigearthnet.dataset.quality import quality_json
from tests.support import archives
from tests.support.drafts import draft_of
from tests.support.pipeline import prepare
from tests.support.published import member, patch_ids
from tests.support.rasters import geotiff
from tests.support.sample import Sample

CHECKS = ["constant", "black", "saturated", "unlabelled", "labels", "duplicates"]
ONE_COLOUR, BLACK, WHITE, UNLABELLED, FIRST, SECOND, THIRD = 2, 5, 8, 11, 3, 13, 20


@pytest.fixture(scope="module")
def flawed(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the sample, some of whose patches have flaws."""
    folder = tmp_path_factory.mktemp("flawed")
    record = archives.linked(sample.folder, folder / "record")
    images = dict(archives.members(record / archives.IMAGES))
    ids = sorted({path.split("/")[2] for path in images})
    levels = {ids[ONE_COLOUR]: 900, ids[BLACK]: 0, ids[WHITE]: 9000}
    copies = {ids[SECOND]: ids[FIRST], ids[THIRD]: ids[FIRST]}

    def change_band(path: str, old: bytes) -> bytes:
        patch_id, side = path.split("/")[2], archives.pixels(old).shape[1]
        if patch_id in copies:
            other = copies[patch_id]
            return images[f"BigEarthNet-S2/{other[:-6]}/{other}/{other}{path.rpartition(patch_id)[2]}"]
        level = levels.get(patch_id)
        return old if level is None else geotiff(np.full((side, side), level, np.uint16))

    def change_map(path: str, old: bytes) -> bytes:
        if ids[UNLABELLED] not in path:
            return old
        codes = archives.pixels(old)[0]
        codes[10:] = 999
        return geotiff(codes)

    archives.rewrite(record / archives.IMAGES, change_band)
    archives.rewrite(record / archives.MAPS, change_map)
    prepare(record, folder / "dataset")
    return folder / "dataset"


def checks(data: bytes) -> dict[str, dict[str, Any]]:
    found = json.loads(data)["checks"]
    assert [check["name"] for check in found] == CHECKS
    return {check["name"]: check for check in found}


def test_bad_and_worst_patches_are_those_of_the_pixels(flawed: Path) -> None:
    ids = patch_ids(flawed, "images")
    images = np.stack([archives.pixels(member(flawed, "images", one)) for one in ids])
    masks = np.stack([archives.pixels(member(flawed, "masks", one))[0] for one in ids])
    labels = [set(labels) for labels in pq.read_table(flawed / "manifest.parquet")["labels"].to_pylist()]
    shown = [{BEN19[value][0] for value in np.unique(mask) if value != 255} for mask in masks]
    bad: dict[str, tuple[npt.NDArray[Any], Callable[[Any], Any]]] = {
        "constant": (images.std(axis=(2, 3)).max(axis=1), lambda value: value == 0),
        "black": ((images == 0).all(axis=1).mean(axis=(1, 2)), lambda value: value >= 0.5),
        "saturated": ((images == 255).any(axis=1).mean(axis=(1, 2)), lambda value: value >= 0.5),
        "unlabelled": ((masks == 255).mean(axis=(1, 2)), lambda value: value >= 0.5),
        "labels": (
            np.array([len(a ^ b) for a, b in zip(labels, shown, strict=True)]),
            lambda value: value > 0,
        ),
    }
    found = checks((flawed / "quality.json").read_bytes())
    for name, (values, is_bad) in bad.items():
        check = found[name]
        assert (check["checked"], check["bad"]) == (24, is_bad(values).sum()), name
        order = np.argsort(values if name == "constant" else -values, kind="stable")[:10]
        worst = [i for i in order if name == "constant" or values[i] > 0]
        assert [one["patch_id"] for one in check["worst"]] == [ids[i] for i in worst]
        assert [one["value"] for one in check["worst"]] == pytest.approx(values[worst], abs=1e-5)
        assert {one["same_as"] for one in check["worst"]} <= {None}
    assert [found[name]["bad"] for name in CHECKS] == [3, 1, found["saturated"]["bad"], 1, 1, 3]
    assert found["unlabelled"]["worst"][0]["patch_id"] == found["labels"]["worst"][0]["patch_id"]
    same = {"patch_id": ids[FIRST], "value": 3, "same_as": ids[SECOND]}
    assert found["duplicates"]["worst"] == [same]


def test_the_sheet_has_a_row_a_check_with_the_worst_first(flawed: Path) -> None:
    sheet = archives.pixels((flawed / "quality.png").read_bytes()).transpose(1, 2, 0)
    assert sheet.shape == (6 * 128 + 8, 10 * 252 + 8, 3)
    colours = {entry.value: entry.colour for entry in mask_classes("ben19")}
    for nth, check in enumerate(checks((flawed / "quality.json").read_bytes()).values()):
        top = 8 + 128 * nth
        for i, one in enumerate(check["worst"]):
            shown = sheet[top : top + 120, 8 + 252 * i :]
            image = archives.pixels(member(flawed, "images", one["patch_id"])).transpose(1, 2, 0)
            mask = archives.pixels(member(flawed, "masks", one["patch_id"]))[0]
            np.testing.assert_array_equal(shown[:, :120], image)
            np.testing.assert_array_equal(
                shown[::17, 124:244:17], [[colours[v] for v in row] for row in mask[::17, ::17]]
            )
        assert (sheet[top : top + 120, 8 + 252 * len(check["worst"]) :] == 255).all()


def test_images_that_only_share_size_and_checksum_are_not_listed(flawed: Path, tmp_path: Path) -> None:
    draft = draft_of(flawed, tmp_path)
    assert quality_json(draft) == (flawed / "quality.json").read_bytes()
    with pq.ParquetWriter(tmp_path / "manifest.parquet", pq.read_schema(draft.manifest)) as writer:
        for nth, (_, rows) in enumerate(draft.rows(writer.schema.names)):
            for name in ("image_crc32", "image_size") if nth == 1 else ():
                at, alike = rows.column_names.index(name), pa.array([200] * len(rows), pa.uint32())
                rows = rows.set_column(at, name, alike)  # noqa: PLW2901
            writer.write_table(rows)
    found = checks(quality_json(replace(draft, manifest=tmp_path / "manifest.parquet")))["duplicates"]
    patches = draft.card.tiles[1].patches
    assert found["bad"] == patches + 2
    assert [one["value"] for one in found["worst"]] == [2]


def test_labels_are_not_checked_where_the_manifest_does_not_tell(sample: Sample, tmp_path: Path) -> None:
    prepare(sample.folder, tmp_path / "d", rendering={"mask_classes": "clc_l1"}, max_patches=5)
    found = checks((tmp_path / "d" / "quality.json").read_bytes())
    assert (found["labels"]["checked"], found["labels"]["bad"], found["labels"]["worst"]) == (0, 0, [])
    assert found["black"]["checked"] == 5
