import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import rasterio
from bigearthnet.source.old.local import read_held
from bigearthnet.tile.extract import Extractor

from bigearthnet.archive import ArchiveReader, index_archive
from bigearthnet.classes import BEN19
from bigearthnet.dataset.manifest import (
    MANIFEST_SCHEMA,
    ChannelSums,
    Statistics,
    write_manifest,
    write_tile_rows,
)
from bigearthnet.names import (
    IMAGES_ARCHIVE,
    IMAGES_ROOT,
    MAPS_ARCHIVE,
    MAPS_ROOT,
    METADATA_FILES,
    parse_patch,
)
from bigearthnet.options import Rendering, Selection
from bigearthnet.plan.metadata import read_metadata
from bigearthnet.plan.selection import plan
from bigearthnet.sample.archives import Sample, patch_files
from bigearthnet.tile.convert import IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, convert_tile

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # PNGs

FACTS = ("split", "labels", "country", "contains_seasonal_snow", "contains_cloud_or_shadow")


@dataclass(frozen=True)
class Made:
    """The sample's tiles, converted: the folder of each."""

    record: Path
    folders: dict[str, Path]

    @property
    def rows(self) -> list[tuple[str, Path]]:
        return [(tile, folder / ROWS_FILE) for tile, folder in self.folders.items()]

    def pngs(self, shard: str) -> dict[str, tuple[int, int, npt.NDArray[Any]]]:
        """Of each patch, as zipfile and rasterio see it: size, CRC-32, pixels."""
        found = {}
        for folder in self.folders.values():
            with ZipFile(folder / shard) as file:
                for info in file.infolist():
                    with rasterio.open(io.BytesIO(file.read(info))) as png:
                        patch_id = info.filename.removesuffix(".png").removesuffix("_mask")
                        found[patch_id] = (info.file_size, info.CRC, png.read())
        return found

    def listed(self) -> dict[str, dict[str, Any]]:
        """The record's metadata of each patch."""
        rows = [row for name in METADATA_FILES for row in pq.read_table(self.record / name).to_pylist()]
        return {row["patch_id"]: row for row in rows}


@pytest.fixture(scope="module")
def made(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, record = tmp_path_factory.mktemp("made"), sample.folder
    maps = ArchiveReader(read_held(record / MAPS_ARCHIVE), MAPS_ROOT, MAPS_ARCHIVE)
    everything = plan(index_archive(maps), None, Selection())
    extractor = Extractor(
        ArchiveReader(read_held(record / IMAGES_ARCHIVE), IMAGES_ROOT, IMAGES_ARCHIVE),
        ArchiveReader(read_held(record / MAPS_ARCHIVE), MAPS_ROOT, MAPS_ARCHIVE),
        everything,
        lambda _: True,
    )
    folders = {}
    for tile in everything.tiles:
        folders[tile.tile] = folder / tile.tile
        folders[tile.tile].mkdir()
        convert_tile(
            tile, extractor.extract(tile, folder), Rendering(mask_classes="ben19"), folders[tile.tile]
        )
    return Made(record, folders)


@pytest.fixture(scope="module")
def manifest(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Statistics]:
    path = tmp_path_factory.mktemp("manifest") / "manifest.parquet"
    return path, write_manifest(
        made.rows, read_metadata([made.record / name for name in METADATA_FILES]), path
    )


def test_there_is_a_row_a_patch_in_the_order_of_the_zips(
    made: Made, manifest: tuple[Path, Statistics]
) -> None:
    table = pq.read_table(manifest[0])
    assert table.schema == MANIFEST_SCHEMA
    assert table.column_names[:4] == ["patch_id", "tile", "column", "row"]
    patch_ids = table.column("patch_id").to_pylist()
    assert patch_ids == sorted(made.listed())
    assert [f"{r['tile']}_{r['column']:02d}_{r['row']:02d}" for r in table.to_pylist()] == patch_ids
    assert pq.ParquetFile(manifest[0]).num_row_groups == len(made.folders)


def test_sizes_and_crcs_are_those_of_the_zips(made: Made, manifest: tuple[Path, Statistics]) -> None:
    images, masks = made.pngs(IMAGES_SHARD), made.pngs(MASKS_SHARD)
    for row in pq.read_table(manifest[0]).to_pylist():
        assert (row["image_size"], row["image_crc32"]) == images[row["patch_id"]][:2]
        assert (row["mask_size"], row["mask_crc32"]) == masks[row["patch_id"]][:2]
        values, counts = np.unique(masks[row["patch_id"]][2], return_counts=True)
        assert row["class_pixels"] == list(zip(values.tolist(), counts.tolist(), strict=True))


def test_bounds_are_those_that_rasterio_finds(manifest: tuple[Path, Statistics]) -> None:
    for row in pq.read_table(manifest[0]).to_pylist():
        files = patch_files(parse_patch(row["patch_id"]))
        with rasterio.open(io.BytesIO(files["B03"])) as file:
            assert (row["x_min"], row["y_min"], row["x_max"], row["y_max"]) == tuple(file.bounds)
            assert row["crs"] == file.crs.to_epsg()


def test_facts_are_those_of_the_metadata(made: Made, manifest: tuple[Path, Statistics]) -> None:
    listed, order = made.listed(), [name for name, _ in BEN19]
    for row in pq.read_table(manifest[0]).to_pylist():
        expected = {name: listed[row["patch_id"]][name] for name in FACTS}
        assert {name: row[name] for name in FACTS} == expected | {
            "labels": sorted(expected["labels"], key=order.index)
        }


def assert_moments(sums: ChannelSums, images: list[npt.NDArray[Any]]) -> None:
    assert sums.patches == len(images)
    pixels = np.stack(images).transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    moments = sums.mean_and_deviation()
    assert moments is not None
    np.testing.assert_allclose(moments["mean"], pixels.mean(axis=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(moments["std"], pixels.std(axis=1), rtol=0, atol=1e-9)


def test_statistics_are_those_of_the_images(made: Made, manifest: tuple[Path, Statistics]) -> None:
    statistics, listed = manifest[1], made.listed()
    images = {patch_id: pixels for patch_id, (_, _, pixels) in made.pngs(IMAGES_SHARD).items()}
    train = [pixels for patch_id, pixels in images.items() if listed[patch_id]["split"] == "train"]
    assert 0 < len(train) < len(images)
    assert_moments(statistics.all, list(images.values()))
    assert_moments(statistics.train, train)
    splits = [row["split"] for row in listed.values()]
    assert list(statistics.splits.items()) == [(s, splits.count(s)) for s in ("train", "validation", "test")]
    masks = np.stack([pixels for _, _, pixels in made.pngs(MASKS_SHARD).values()])
    values, counts = np.unique(masks, return_counts=True)
    assert list(statistics.class_pixels.items()) == list(zip(values.tolist(), counts.tolist(), strict=True))


def test_without_metadata_its_columns_are_null(
    made: Made, manifest: tuple[Path, Statistics], tmp_path: Path
) -> None:
    statistics = write_manifest(made.rows, None, tmp_path / "manifest.parquet")
    table, full = pq.read_table(tmp_path / "manifest.parquet"), pq.read_table(manifest[0])
    assert table.schema == MANIFEST_SCHEMA
    assert all(table.column(name).null_count == len(table) for name in FACTS)
    assert table.drop_columns(FACTS).equals(full.drop_columns(FACTS))
    assert statistics.all.mean_and_deviation() == manifest[1].all.mean_and_deviation()
    assert statistics.train.mean_and_deviation() is None
    assert statistics.splits == {}


def test_a_patch_that_the_metadata_does_not_list_has_nulls(made: Made, tmp_path: Path) -> None:
    first = read_metadata([made.record / METADATA_FILES[0]])
    statistics = write_manifest(made.rows, first, tmp_path / "manifest.parquet")
    listed = {row["patch_id"] for row in pq.read_table(made.record / METADATA_FILES[0]).to_pylist()}
    rows = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    assert 0 < len(listed) < len(rows)
    for row in rows:
        assert [row[name] is None for name in FACTS] == [row["patch_id"] not in listed] * 5
    assert sum(statistics.splits.values()) == len(listed)


def test_the_same_tiles_give_the_same_bytes(
    made: Made, manifest: tuple[Path, Statistics], tmp_path: Path
) -> None:
    metadata = read_metadata([made.record / name for name in METADATA_FILES])
    write_manifest(made.rows, metadata, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == manifest[0].read_bytes()


def test_a_dataset_without_patches_has_an_empty_manifest(tmp_path: Path) -> None:
    write_tile_rows([], tmp_path / "rows.parquet")
    statistics = write_manifest([("tile", tmp_path / "rows.parquet")], None, tmp_path / "manifest.parquet")
    assert pq.read_table(tmp_path / "manifest.parquet").equals(MANIFEST_SCHEMA.empty_table())
    assert statistics.all.mean_and_deviation() is None


@pytest.mark.parametrize("values", [(0, 0, 0), (255, 255, 255), (254, 255, 1)])
def test_deviations_of_the_whole_dataset_keep_their_digits(values: tuple[int, int, int]) -> None:
    patches, pixels = 549_488, 549_488 * 14_400
    # Every pixel of one value, but for a single one of 0.
    sums = [pixels * value - value for value in values]
    squares = [pixels * value**2 - value**2 for value in values]
    found = ChannelSums(patches, np.array(sums, np.uint64), np.array(squares, np.uint64)).mean_and_deviation()
    assert found is not None
    share = 1 / pixels
    np.testing.assert_allclose(found["mean"], [value * (1 - share) for value in values], rtol=1e-12)
    np.testing.assert_allclose(
        found["std"], [value * np.sqrt(share * (1 - share)) for value in values], rtol=1e-9
    )


def test_sums_of_a_bright_tile_do_not_run_over(tmp_path: Path) -> None:
    names = [f"{colour}_{what}" for what in ("sum", "squares") for colour in ("red", "green", "blue")]
    white = dict(zip(names, [14_400 * 255] * 3 + [14_400 * 255**2] * 3, strict=True))
    tile = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    write_tile_rows(
        [{"patch_id": f"{tile}_00_{i:02d}", "class_pixels": [], **white} for i in range(50)], tmp_path / "r"
    )
    statistics = write_manifest([(tile, tmp_path / "r")], None, tmp_path / "m")
    assert statistics.all.mean_and_deviation() == {"mean": [255.0] * 3, "std": [0.0] * 3}


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "cancelled"])
def test_rows_are_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "rows.parquet"
    write_tile_rows([], path)
    before = path.read_bytes()

    def half(table: object, where: Path, **_: object) -> None:
        where.write_bytes(b"PAR1")
        raise error

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(type(error)):
        write_tile_rows([], path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("rows.parquet", before)]
