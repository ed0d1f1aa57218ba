import io
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pyarrow.parquet as pq
import pytest

from bigearthnet.archive.bundle import Bundles
from bigearthnet.errors import ArchiveError, SpaceError, StoreError
from bigearthnet.names import MAP, RGB_BANDS
from bigearthnet.options import Rendering
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.sample.archives import sample_patches
from bigearthnet.tile import Conversion, ConvertedTile, Held, Rejected, convert_tile, shard_file
from bigearthnet.tile.convert import rows_file
from bigearthnet.tile.rows import SCHEMAS, SUFFIXES, members
from bigearthnet.zips.join import CentralDirectory
from tests.support import archives
from tests.support.rasters import geotiff
from tests.support.sample import patch_files

Layers = dict[str, bytes]
Files = dict[str, Layers]
RENDERING = Rendering(mask_classes="clc")


@pytest.fixture(scope="module")
def whole() -> Files:
    """Layers of five patches of a tile; not to be changed."""
    return {patch.patch_id: patch_files(patch) for patch in sample_patches([5])}


def bundled(folder: Path, files: Files, layers: Iterable[str], root: str) -> Path:
    """A bundle, as extraction writes it."""
    path = folder / f"{root}.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        for p, of_patch in sorted(files.items()):
            for layer in sorted(set(layers) & of_patch.keys()):
                info = tarfile.TarInfo(f"{root}/{p[:-6]}/{p}/{p}_{layer}.tif")
                info.size = len(of_patch[layer])
                file.addfile(info, io.BytesIO(of_patch[layer]))
    return path


def convert(
    folder: Path,
    files: Files,
    patch_ids: Iterable[str] = (),
    *,
    held: Mapping[Kind, Held] = {},
    rejected: Mapping[str, str] = {},
    unknown: tuple[str, ...] = (),
) -> ConvertedTile:
    """Convert patches (those of `files` by default) whose layers are in bundles."""
    folder.mkdir(exist_ok=True)
    ids = list(patch_ids) or list(files)
    bundles = Bundles(
        bundled(folder, files, RGB_BANDS["true_colour"], "BigEarthNet-S2"),
        bundled(folder, files, [MAP], "Reference_Maps"),
        unknown,
    )
    return convert_tile(Conversion(ids[0][:-6], ids, KINDS, held, rejected), bundles, RENDERING, folder)


def pngs(folder: Path, kind: Kind) -> dict[str, bytes]:
    """PNG of each patch, after comparing rows and shard by zipfile."""
    table = pq.read_table(folder / rows_file(kind))
    assert table.schema.equals(SCHEMAS[kind])
    directory = CentralDirectory()
    entries = directory.add(members(table, kind))
    shard = (folder / shard_file(kind)).read_bytes()
    with ZipFile(io.BytesIO(shard + entries + directory.end())) as file:
        assert file.testzip() is None
        return {name.removesuffix(SUFFIXES[kind]): file.read(name) for name in file.namelist()}


def outcome(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".tar"}


def test_images_are_red_green_and_blue_and_masks_the_maps(tmp_path: Path, whole: Files) -> None:
    made = convert(tmp_path, whole)
    images, masks = pngs(tmp_path, "images"), pngs(tmp_path, "masks")
    assert (made.patches, made.rejected, list(images), list(masks)) == (5, (), list(whole), list(whole))
    assert outcome(tmp_path).keys() == {"images.shard", "masks.shard", "images.parquet", "masks.parquet"}
    for p in whole:
        dn = np.concatenate([archives.pixels(whole[p][band]) for band in ("B04", "B03", "B02")])
        expected = np.rint(np.clip(dn.astype(np.float64) / 3000, 0, 1) * 255)
        np.testing.assert_array_equal(archives.pixels(images[p]), expected)
        np.testing.assert_array_equal(archives.pixels(masks[p]), archives.pixels(whole[p][MAP]))


Change = Callable[[Layers], Layers]


def without(*layers: str) -> Change:
    return lambda files: {layer: data for layer, data in files.items() if layer not in layers}


def having(layer: str, data: bytes | str) -> Change:
    return lambda files: files | {layer: files[data] if isinstance(data, str) else data}


NOWHERE = geotiff(np.ones((120, 120), np.uint16), crs=None)
REASONS: list[tuple[Change, str]] = [
    (without("B04"), "missing in the images' archive: B04$"),
    (without("B02", "B03"), "missing in the images' archive: B03, B02$"),
    (without(MAP), "missing in the reference maps' archive: its map$"),
    (without(MAP, "B03"), "missing in the images' archive: B03$"),
    (having("B03", b"garbage"), "B03: "),
    (having("B02", "B05"), "B02: .*60 × 60"),
    (having(MAP, b"garbage"), "reference_map: "),
    (having(MAP, "B04"), r"reference_map: .*\d+\]"),  # reflectances are no codes
]


@pytest.mark.parametrize(
    ("nth", "change", "reason"),
    [
        *((nth, *one) for nth in (0, 2) for one in REASONS),
        (0, having("B04", NOWHERE), ".* states no EPSG code"),  # the next one locates the tile
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_patch_is_left_out_with_its_reason(
    tmp_path: Path, whole: Files, nth: int, change: Change, reason: str
) -> None:
    bad = list(whole)[nth]
    made = convert(tmp_path / "some", whole | {bad: change(whole[bad])})
    convert(tmp_path / "fresh", {p: layers for p, layers in whole.items() if p != bad})
    assert (made.patches, [one.patch_id for one in made.rejected]) == (4, [bad])
    assert re.match(reason, made.rejected[0].reason)
    assert outcome(tmp_path / "some") == outcome(tmp_path / "fresh")


def test_a_fault_of_the_machine_rejects_no_patch(
    tmp_path: Path, whole: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("bigearthnet.tile.convert.decode", without_memory)
    with pytest.raises(MemoryError):
        convert(tmp_path, whole)


def test_rejected_and_unknown_patches_are_listed_in_their_order(tmp_path: Path, whole: Files) -> None:
    first, second, third, fourth, fifth = whole
    files = whole | {second: without("B04")(whole[second])}
    unknown = (f"{first[:-6]}_00_00", f"{first[:-6]}_99_99")
    made = convert(tmp_path, files, rejected={fourth: "known before", first: "also"}, unknown=unknown)
    assert made.rejected == (
        Rejected(unknown[0], "neither a reference map nor metadata of it"),
        Rejected(first, "also"),
        Rejected(second, "missing in the images' archive: B04"),
        Rejected(fourth, "known before"),
        Rejected(unknown[1], "neither a reference map nor metadata of it"),
    )
    assert list(pngs(tmp_path, "images")) == list(pngs(tmp_path, "masks")) == [third, fifth]


def test_in_how_many_groups_patches_are_converted_changes_nothing(
    tmp_path: Path, whole: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, _, fourth, _ = whole
    files = whole | {second: without(MAP)(whole[second]), fourth: having("B02", b"")(whole[fourth])}
    made = convert(tmp_path / "one", files)
    assert [one.patch_id for one in made.rejected] == [second, fourth]
    monkeypatch.setattr("bigearthnet.tile.convert._GROUP", 2)
    assert convert(tmp_path / "three", files) == made
    assert outcome(tmp_path / "three") == outcome(tmp_path / "one")


def test_a_tile_of_bad_patches_becomes_two_empty_shards(tmp_path: Path, whole: Files) -> None:
    made = convert(tmp_path, {}, whole)
    assert (made.patches, [one.patch_id for one in made.rejected]) == (0, list(whole))
    assert pngs(tmp_path, "images") == pngs(tmp_path, "masks") == {}


def test_a_damaged_image_of_an_earlier_run_ends_the_conversion(tmp_path: Path, whole: Files) -> None:
    convert(tmp_path / "fresh", whole)
    first, *_ = pq.read_table(tmp_path / "fresh" / rows_file("images")).to_pylist()
    held = Held({first["patch_id"]: first}, lambda _: b"other bytes")
    with pytest.raises(ArchiveError, match=rf"cannot reuse {first['patch_id']}\.png: .* Delete the dataset"):
        convert(tmp_path / "some", whole, held={"images": held})


def test_a_damaged_bundle_and_a_full_disk_are_named(tmp_path: Path, whole: Files) -> None:
    images = bundled(tmp_path, whole, RGB_BANDS["true_colour"], "BigEarthNet-S2")
    wanted = Conversion("a tile", list(whole), KINDS, {}, {})
    images.write_bytes(images.read_bytes()[:100_000])
    with pytest.raises(ArchiveError, match=r"BigEarthNet-S2\.tar.*cut off"):
        convert_tile(wanted, Bundles(images, None, ()), RENDERING, tmp_path)
    with pytest.raises(StoreError, match=rf"cannot make {images}: a file or"):
        convert_tile(wanted, Bundles(None, None, ()), RENDERING, images)
    (tmp_path / "masks.parquet").symlink_to("/dev/full")
    with pytest.raises(SpaceError, match=rf"cannot write {tmp_path}/masks\.parquet: the disk is full"):
        convert(tmp_path, whole)
