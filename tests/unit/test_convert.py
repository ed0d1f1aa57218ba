import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import rasterio

from bigearthnet.archive.bundle import Bundles
from bigearthnet.names import MAP, RGB_BANDS
from bigearthnet.options import Rendering
from bigearthnet.plan.selection import TilePlan
from bigearthnet.sample import patch_files, sample_patches
from bigearthnet.tile.convert import (
    IMAGES_SHARD,
    MASKS_SHARD,
    ROWS_FILE,
    MadeFile,
    MadeTile,
    Rejected,
    convert_tile,
)
from tests.support.rasters import geotiff

Files = dict[str, dict[str, bytes]]

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # PNGs

PATCHES = sample_patches(5, 1)
TILE = PATCHES[0].tile
IDS = [patch.patch_id for patch in PATCHES]
FIRST, SECOND, THIRD, FOURTH, FIFTH = IDS


@pytest.fixture(scope="module")
def whole() -> Files:
    """Layers of all patches; not to be changed."""
    return {patch.patch_id: patch_files(patch) for patch in PATCHES}


def band(shape: tuple[int, int] = (120, 120), kind: str = "uint16", *, compress: bool = False) -> bytes:
    return geotiff(np.full(shape, 777, kind), compress="deflate" if compress else "none")


def read(raster: bytes) -> npt.NDArray[Any]:
    with rasterio.open(io.BytesIO(raster)) as file:
        found: npt.NDArray[Any] = file.read()
        return found


def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def bundled(folder: Path, files: Files, strays: tuple[str, ...] = ()) -> Bundles:
    """Bundles of these patches, as extraction leaves them."""
    folder.mkdir(exist_ok=True)

    def members(root: str, layers: tuple[str, ...]) -> list[tuple[str, bytes]]:
        return [
            (f"{root}/{p[:-6]}/{p}/{p}_{layer}.tif", of_patch[layer])
            for p, of_patch in sorted(files.items())
            for layer in sorted(layers)
            if layer in of_patch
        ]

    return Bundles(
        tar(folder / "images.tar", members("BigEarthNet-S2", RGB_BANDS)),
        tar(folder / "maps.tar", members("Reference_Maps", (MAP,))),
        strays,
    )


def planned(patch_ids: Iterable[str]) -> TilePlan:
    places = np.array([100 * int(p[-5:-3]) + int(p[-2:]) for p in patch_ids], np.uint16)
    return TilePlan(TILE, places, places, whole=True, after="")


def convert(
    folder: Path, files: Files, rendering: Rendering | None = None, strays: tuple[str, ...] = ()
) -> MadeTile:
    return convert_tile(planned(IDS), bundled(folder, files, strays), rendering or Rendering(), folder)


def names(shard: Path) -> list[str]:
    with ZipFile(shard) as file:
        assert file.testzip() is None
        assert {info.compress_type for info in file.infolist()} <= {ZIP_STORED}
        return file.namelist()


def test_a_tile_becomes_two_shards_and_rows(tmp_path: Path, whole: Files) -> None:
    made = convert(tmp_path, whole)
    assert (made.tile, made.patches, made.rejected) == (TILE, 5, ())
    assert names(tmp_path / IMAGES_SHARD) == [f"{p}.png" for p in IDS]
    assert names(tmp_path / MASKS_SHARD) == [f"{p}_mask.png" for p in IDS]
    assert pq.read_table(tmp_path / ROWS_FILE).column("patch_id").to_pylist() == IDS
    for name, file in ((IMAGES_SHARD, made.images), (MASKS_SHARD, made.masks), (ROWS_FILE, made.rows)):
        data = (tmp_path / name).read_bytes()
        assert file == MadeFile(len(data), hashlib.sha256(data).hexdigest())
    assert {path.name for path in tmp_path.iterdir()} == {
        *(IMAGES_SHARD, MASKS_SHARD, ROWS_FILE),
        *("images.tar", "maps.tar"),
    }


def test_images_are_red_green_and_blue_of_the_patch_and_masks_its_map(tmp_path: Path, whole: Files) -> None:
    convert(tmp_path, whole, Rendering(mask_classes="clc"))
    with ZipFile(tmp_path / IMAGES_SHARD) as images, ZipFile(tmp_path / MASKS_SHARD) as masks:
        for p in IDS:
            dn = np.concatenate([read(whole[p][band]) for band in ("B04", "B03", "B02")]).astype(np.float64)
            expected = np.rint(np.clip(dn / 3000, 0, 1) * 255)
            np.testing.assert_array_equal(read(images.read(f"{p}.png")), expected)
            np.testing.assert_array_equal(read(masks.read(f"{p}_mask.png")), read(whole[p][MAP]))


def test_every_try_gives_the_same_bytes(tmp_path: Path, whole: Files) -> None:
    files = {p: layers for p, layers in whole.items() if p != THIRD}
    assert convert(tmp_path / "one", files) == convert(tmp_path / "other", files)
    for name in (IMAGES_SHARD, MASKS_SHARD, ROWS_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_try_writes_over_what_an_earlier_one_left(tmp_path: Path, whole: Files) -> None:
    once = convert(tmp_path / "one", whole)
    (tmp_path / "two").mkdir()
    for name in (IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, f".{IMAGES_SHARD}.part", f".{ROWS_FILE}.part"):
        (tmp_path / "two" / name).write_bytes(b"left by a killed run" * 99_999)
    assert convert(tmp_path / "two", whole) == once
    assert names(tmp_path / "two" / IMAGES_SHARD) == [f"{p}.png" for p in IDS]
    assert not list((tmp_path / "two").glob(".*"))


def test_other_renderings_give_other_shards(tmp_path: Path, whole: Files) -> None:
    one, other = (
        convert(tmp_path, whole),
        convert(tmp_path, whole, Rendering(stretch="minmax", mask_classes="clc_l3")),
    )
    assert one.images != other.images
    assert one.masks != other.masks


Change = Callable[[dict[str, bytes]], dict[str, bytes]]


def without(*layers: str) -> Change:
    return lambda files: {layer: data for layer, data in files.items() if layer not in layers}


def having(layer: str, data: bytes) -> Change:
    return lambda files: files | {layer: data}


WRONG = "the GeoTIFF has not 1 band of 120 × 120 pixels, uint16, but 1 of"
REASONS: list[tuple[Change, str]] = [
    (without("B04"), "missing in the images' archive: B04"),
    (without("B02", "B03"), "missing in the images' archive: B03, B02"),
    (without("B04", "B03", "B02"), "missing in the images' archive: B04, B03, B02"),
    (without(MAP), "missing in the reference maps' archive: its map"),
    (without(MAP, "B03"), "missing in the images' archive: B03"),
    (having("B04", b""), "B04: the file is empty"),
    (having("B03", b"garbage"), "B03: 7 bytes that are not a GeoTIFF, or damaged"),
    (having("B02", band((60, 60))), f"B02: {WRONG} 60 × 60, uint16"),
    (having("B02", band(kind="float32")), f"B02: {WRONG} 120 × 120, float32"),
    (having(MAP, b"garbage"), "reference_map: 7 bytes that are not a GeoTIFF, or damaged"),
    (having(MAP, band((20, 20), compress=True)), f"reference_map: {WRONG} 20 × 20, uint16"),
    (having(MAP, band(compress=True)), "reference_map: [777] are not codes of CLC 2018 (or 999)"),
]


@pytest.mark.parametrize(("change", "reason"), REASONS, ids=[reason for _, reason in REASONS])
@pytest.mark.parametrize("patch_id", [FIRST, THIRD], ids=["the first", "another"])
def test_a_bad_patch_is_left_out_with_its_reason(
    tmp_path: Path, whole: Files, patch_id: str, change: Change, reason: str
) -> None:
    made = convert(tmp_path, whole | {patch_id: change(whole[patch_id])})
    assert made.rejected == (Rejected(patch_id, reason),)
    left = [p for p in IDS if p != patch_id]
    assert made.patches == 4
    assert names(tmp_path / IMAGES_SHARD) == [f"{p}.png" for p in left]
    assert names(tmp_path / MASKS_SHARD) == [f"{p}_mask.png" for p in left]
    assert pq.read_table(tmp_path / ROWS_FILE).column("patch_id").to_pylist() == left


def test_what_is_left_does_not_depend_on_what_was_left_out(tmp_path: Path, whole: Files) -> None:
    convert(tmp_path / "all", whole)
    convert(tmp_path / "some", whole | {FIRST: without("B04")(whole[FIRST])})
    for shard in (IMAGES_SHARD, MASKS_SHARD):
        with ZipFile(tmp_path / "all" / shard) as every, ZipFile(tmp_path / "some" / shard) as some:
            assert [some.read(name) for name in some.namelist()] == [
                every.read(n) for n in every.namelist()[1:]
            ]
    rows = [pq.read_table(tmp_path / name / ROWS_FILE).to_pylist() for name in ("all", "some")]
    assert rows[1] == rows[0][1:]


def test_a_first_patch_that_lies_nowhere_is_rejected_and_the_next_locates_the_tile(
    tmp_path: Path, whole: Files
) -> None:
    expected = convert(tmp_path / "all", whole)
    lost = geotiff(np.ones((120, 120), np.uint16), crs=None)
    made = convert(tmp_path / "some", whole | {FIRST: whole[FIRST] | {"B04": lost}})
    assert [(one.patch_id, one.reason[:64]) for one in made.rejected] == [
        (FIRST, f"{FIRST}: the GeoTIFF states no EPSG code"[:64])
    ]
    assert expected.patches == made.patches + 1
    rows = [pq.read_table(tmp_path / name / ROWS_FILE).to_pylist() for name in ("all", "some")]
    assert rows[1] == rows[0][1:]


def test_reasons_and_strays_come_in_the_order_of_the_patches(tmp_path: Path, whole: Files) -> None:
    bad = {SECOND: without("B04")(whole[SECOND]), FOURTH: without(MAP)(whole[FOURTH])}
    strays = (f"{TILE}_00_00", f"{TILE}_99_99", "S2A_MSIL2A_20160613T101031_N9999_R022_T33UUP_00_00")
    made = convert(tmp_path, whole | bad, strays=strays)
    told = [(one.patch_id, one.reason) for one in made.rejected]
    assert told == sorted(told)
    assert dict(told) == {
        SECOND: "missing in the images' archive: B04",
        FOURTH: "missing in the reference maps' archive: its map",
        **dict.fromkeys(strays, "no reference map and no metadata of it"),
    }
    assert made.patches == 3


@pytest.mark.parametrize("files", [{}, "no maps"], ids=["nothing there", "no maps"])
def test_a_tile_of_bad_patches_becomes_two_empty_shards(tmp_path: Path, whole: Files, files: Any) -> None:
    made = convert(tmp_path, {p: without(MAP)(layers) for p, layers in whole.items()} if files else {})
    assert made.patches == 0
    assert [one.patch_id for one in made.rejected] == IDS
    assert names(tmp_path / IMAGES_SHARD) == names(tmp_path / MASKS_SHARD) == []
    assert pq.read_table(tmp_path / ROWS_FILE).num_rows == 0


def test_a_damaged_bundle_leaves_nothing_behind(tmp_path: Path, whole: Files) -> None:
    bundles = bundled(tmp_path, whole)
    bundles.images.write_bytes(bundles.images.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"^images\.tar, .*: the tar is cut off"):
        convert_tile(planned(IDS), bundles, Rendering(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"images.tar", "maps.tar"}
