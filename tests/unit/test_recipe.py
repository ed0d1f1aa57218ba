"""Keys of tiles, the bytes that they stand for, and what a run needs."""

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bigearthnet.classes import CLC, MASK_FORMS, MaskForm
from bigearthnet.errors import SpaceError
from bigearthnet.names import MAP, RGB_BANDS
from bigearthnet.options import Rendering, Selection
from bigearthnet.plan import recipe
from bigearthnet.plan.recipe import KINDS, Kind, Recipe, RecordUsed
from bigearthnet.plan.selection import TilePlan
from bigearthnet.sample.archives import sample_patches
from bigearthnet.source.record import SourceFile
from bigearthnet.tile.render import render_image, render_mask
from bigearthnet.work import space
from tests.support.sample import patch_files

TRUE_COLOUR = RGB_BANDS["true_colour"]

IMAGES, MAPS, TABLE = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst", "metadata.parquet"
TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"


def used(**changes: dict[str, Any]) -> RecordUsed:
    """A record; changes of a file by its name up to the first dot, such as `Reference_Maps`."""
    files = []
    for name in (TABLE, IMAGES, MAPS):
        file = {"name": name, "size": 9, "md5": f"md5 of {name}", "verification": "not read to the end"}
        files.append(SourceFile(**(file | changes.get(name.split(".")[0].replace("-", "_"), {}))))
    return RecordUsed(kind="folder", record="", version="", title="", files=tuple(files))


def made(**rendering: Any) -> Recipe:
    return Recipe(used(), Selection(), Rendering(**rendering))


def tile(*cells: int, known: tuple[int, ...] = (), whole: bool = False) -> TilePlan:
    listed = np.array(cells, np.uint16)
    return TilePlan(TILE, listed, np.array(known or cells, np.uint16), whole)


PLAN = tile(1, 2, 3)


def keys(of: Recipe, plan: TilePlan = PLAN) -> dict[str, str]:
    return {kind: of.key(kind, plan) for kind in KINDS}


def changed(one: Recipe, other: Recipe, plan: TilePlan = PLAN, other_plan: TilePlan = PLAN) -> set[str]:
    """The kinds whose key is another one."""
    return {kind for kind in KINDS if one.key(kind, plan) != other.key(kind, other_plan)}


def test_keys_name_their_tile_and_kind_and_fit_into_a_file_name() -> None:
    found = keys(made())
    assert all(re.fullmatch(f"{TILE}-{kind}-[0-9a-f]{{24}}", key) for kind, key in found.items())
    assert found == keys(made())


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ({}, {"percentiles": (1, 99)}, set()),
        ({}, {"reflectance_max": 4000}, {"images"}),
        ({"stretch": "percentile"}, {"stretch": "percentile", "reflectance_max": 4000}, set()),
        ({"stretch": "percentile"}, {"stretch": "percentile", "percentiles": (1, 98)}, {"images"}),
        ({"stretch": "minmax"}, {"stretch": "minmax", "percentiles": (1, 9), "reflectance_max": 9}, set()),
        ({"stretch": "minmax"}, {"stretch": "percentile"}, {"images"}),
        ({"stretch": "reflectance"}, {"stretch": "minmax"}, {"images"}),
        ({"bands": "infrared"}, {"bands": "true_colour"}, {"images"}),
        ({"mask_classes": "clc"}, {"mask_classes": "ben19"}, {"masks"}),
    ],
)
def test_a_key_changes_with_the_options_that_its_bytes_depend_on(
    before: dict[str, Any], after: dict[str, Any], kinds: set[Kind]
) -> None:
    assert changed(made(**before), made(**after)) == kinds


def test_a_key_changes_with_archives_but_not_with_what_else_is_known_of_the_record() -> None:
    one, both = made(), set(KINDS)
    for name in ("BigEarthNet_S2", "Reference_Maps"):
        assert changed(one, replace(one, source=used(**{name: {"md5": "another"}}))) == both
        verified = used(**{name: {"verification": "md5 as in the record"}})
        assert changed(one, replace(one, source=verified)) == set()
    names = ("BigEarthNet_S2", "Reference_Maps", "metadata")
    all_verified = used(**{name: {"verification": "md5 as in the record"} for name in names})
    assert all_verified.is_verified
    assert changed(one, replace(one, source=all_verified)) == set()
    assert changed(one, replace(one, source=used(metadata={"md5": "another"}))) == set()
    assert changed(one, replace(one, selection=Selection(splits=("train",), max_patches=3))) == set()


def test_a_key_changes_with_the_cells_of_its_tile() -> None:
    one, both = made(), set(KINDS)
    assert changed(one, one, PLAN, tile(1, 2, 4)) == both
    assert changed(one, one, PLAN, tile(1, 2, 3, whole=True)) == both
    assert changed(one, one, PLAN, tile(1, 2, 3, known=(1, 2, 3, 4))) == set()
    assert changed(one, one, PLAN, replace(PLAN, tile=f"{TILE[:-1]}Q")) == both


def test_a_key_changes_with_the_format_number_and_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(made())
    for kind in KINDS:
        with monkeypatch.context() as patch:
            patch.setitem(recipe.FORMATS, kind, recipe.FORMATS[kind] + 1)
            assert {one for one, key in keys(made()).items() if key != before[one]} == {kind}
    monkeypatch.setattr(recipe, "version", lambda _: "another")
    assert not set(before.values()) & set(keys(made()).values())


def bands() -> list[np.ndarray[Any, np.dtype[np.uint16]]]:
    """Reflectances that rise in each of three directions, past the brightest."""
    column, row = np.meshgrid(np.arange(120), np.arange(120))
    return [(plane * 30 + 7).astype(np.uint16) for plane in (column, row, (column + row) // 2)]


def codes() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """All codes of CORINE, in areas of 5 × 5 pixels."""
    column, row = np.meshgrid(np.arange(120) // 5, np.arange(120) // 5)
    return np.array([entry.value for entry in CLC], np.uint16)[(3 * column + 7 * row) % len(CLC)]


GOLDEN_IMAGES = {
    "reflectance": (2, "40c0bcf30ccb28d5"),
    "percentile": (2, "f10c89c756404568"),
    "minmax": (2, "544fe9e77275ab97"),
}
"""Format number and beginning of the PNG's SHA-256, by stretch."""
GOLDEN_MASKS = {
    "clc": (2, "f852f191ee042332"),
    "clc_l3": (2, "c6907edc5e4aff51"),
    "clc_l1": (2, "48fa4bc6bbefa144"),
    "ben19": (2, "c9773cde81b601dc"),
}
ADVICE = (
    "the bytes of PNGs have changed. Make sure that this is meant; then raise the number of the kind in "
    "bigearthnet/plan/recipe.py, FORMATS, so that published tiles are made again, and write the new digests "
    "here"
)


@pytest.mark.parametrize("stretch", GOLDEN_IMAGES)
def test_bytes_of_images_change_only_with_their_format_number(stretch: Any) -> None:
    png, _ = render_image(bands(), Rendering(stretch=stretch))
    found = (recipe.FORMATS["images"], hashlib.sha256(png).hexdigest()[:16])
    assert found == GOLDEN_IMAGES[stretch], ADVICE


@pytest.mark.parametrize("form", MASK_FORMS)
def test_bytes_of_masks_change_only_with_their_format_number(form: MaskForm) -> None:
    png, _ = render_mask(codes(), Rendering(mask_classes=form), "a map")
    found = (recipe.FORMATS["masks"], hashlib.sha256(png).hexdigest()[:16])
    assert found == GOLDEN_MASKS[form], ADVICE


def test_a_bundle_has_room_for_three_bands_and_a_map() -> None:
    files = patch_files(sample_patches([1])[0])
    bands, (codes,) = (
        [512 * (3 + -(-len(files[layer]) // 512)) for layer in layers] for layers in (TRUE_COLOUR, (MAP,))
    )
    assert codes <= space.BUNDLE_BYTES_A_PATCH - sum(bands) == 4096


@pytest.mark.parametrize("destination", [None, Path("/d")])
def test_a_run_needs_room_for_the_largest_tiles_on_their_way(destination: Path | None) -> None:
    found = space.estimate_room([10, 40, 30, 20], 500, 1000, Path("/w"), destination, waiting=2)
    bundles, converting = (40 + 30) * space.BUNDLE_BYTES_A_PATCH, (40 + 30 + 20) * space.PNG_BYTES_A_PATCH
    expected = {Path("/w"): bundles + converting + 1000, Path("/d"): (100 + 500) * space.PNG_BYTES_A_PATCH}
    assert found == {folder: size for folder, size in expected.items() if folder in {Path("/w"), destination}}


def test_room_is_added_up_on_one_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    one, same, other = tmp_path, tmp_path.parent, Path("/proc")
    for room in ({one: 60, same: 40}, {one: 100, other: 100}, {one: 100}):
        space.require_room(room)
    for full, room in [
        (one, {one: 60, same: 41}),
        (one, {one: 101, other: 0}),
        (other, {one: 0, other: 101}),
        (one, {one: 101}),
    ]:
        with pytest.raises(SpaceError, match=f"disk space in {full} for archives, tiles and the dataset"):
            space.require_room(room)


def test_needs_are_described_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 << 30))
    room = {tmp_path: 1 << 30}
    disk = f"disk: about 1.0 GiB of 4.0 GiB free in {tmp_path}"
    assert space.describe_needs(5 << 20, room, stores=True) == f"5.0 MiB to download; {disk}"
    both = space.describe_needs(5 << 20, room | {Path("/d"): 2 << 30}, stores=False)
    assert both == f"up to 5.0 MiB to stream; {disk}, about 2.0 GiB of 4.0 GiB free in /d"
    assert space.describe_needs(0, room, stores=False) == f"nothing to download; {disk}"
