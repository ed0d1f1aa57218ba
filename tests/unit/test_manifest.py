"""The manifest and its statistics, compared with the zips and the record by zipfile, GDAL and numpy."""

import io
import json
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import duckdb
import numpy as np
import numpy.typing as npt
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.warp import transform

from bigearthnet.classes import BEN19, MaskForm
from bigearthnet.dataset.card import Moments, TileEntry, parse_card
from bigearthnet.dataset.manifest import SCHEMA, manifest_rows
from bigearthnet.dataset.statistics import Statistics
from bigearthnet.errors import ChecksumError
from bigearthnet.names import METADATA_FILES
from bigearthnet.plan.metadata import Metadata, read_metadata
from bigearthnet.plan.recipe import KINDS
from bigearthnet.tile.rows import SCHEMAS, SQUARE_COLUMNS, SUM_COLUMNS
from tests.support import archives
from tests.support.published import ZIPS
from tests.support.sample import Sample

FACTS = ("split", "labels", "country", "contains_seasonal_snow", "contains_cloud_or_shadow", "s1_name")
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def table(published_sample: Path) -> pa.Table:
    return pq.read_table(published_sample / "manifest.parquet")


@pytest.fixture(scope="module")
def entries(published_sample: Path) -> tuple[TileEntry, ...]:
    return parse_card((published_sample / "dataset.json").read_bytes(), "a test").tiles


@pytest.fixture(scope="module")
def rows(table: pa.Table) -> Rows:
    found: Rows = table.to_pylist()
    return found


@pytest.fixture(scope="module")
def pixels(published_sample: Path, rows: Rows) -> dict[str, list[npt.NDArray[Any]]]:
    """Images and masks in the order of the manifest, read by their offsets alone."""
    found: dict[str, list[npt.NDArray[Any]]] = {}
    for kind, column in (("images", "image"), ("masks", "mask")):
        data = (published_sample / ZIPS[kind][0]).read_bytes()
        pngs = [data[row[f"{column}_offset"] :][: row[f"{column}_size"]] for row in rows]
        found[kind] = [archives.pixels(png) for png in pngs]
    return found


def test_there_is_a_row_a_patch_in_the_order_of_both_zips(
    published_sample: Path, table: pa.Table, rows: Rows, sample: Sample
) -> None:
    assert table.schema.equals(SCHEMA)
    assert table.column_names[:6] == ["patch_id", "tile", "column", "row", "date", "month"]
    assert not any(pa.types.is_map(column.type) for column in table.schema)  # Hugging Face's cannot read them
    patch_ids = [row["patch_id"] for row in rows]
    assert patch_ids == [f"{row['tile']}_{row['column']:02d}_{row['row']:02d}" for row in rows]
    assert pq.ParquetFile(published_sample / "manifest.parquet").num_row_groups == len(sample.tiles)
    for name, suffix in ZIPS.values():
        with ZipFile(published_sample / name) as file:
            assert file.namelist() == [patch_id + suffix for patch_id in patch_ids]


def test_pandas_polars_and_duckdb_read_it_and_its_pixels_add_up(published_sample: Path, rows: Rows) -> None:
    path = published_sample / "manifest.parquet"
    expected = Counter[int]()
    for row in rows:
        expected.update({one["value"]: one["pixels"] for one in row["class_pixels"]})
    assert sum(expected.values()) == len(rows) * 14_400 > 1 << 16
    of_pandas = pandas.read_parquet(path)
    assert of_pandas["patch_id"].tolist() == [row["patch_id"] for row in rows]
    assert of_pandas["image_offset"].sum() == sum(row["image_offset"] for row in rows)
    parts = pandas.json_normalize(of_pandas["class_pixels"].explode().tolist())
    assert parts.groupby("value")["pixels"].sum().to_dict() == expected
    of_polars = polars.read_parquet(path)
    assert of_polars.to_dicts() == rows
    classes = of_polars.explode("class_pixels").unnest("class_pixels").group_by("value")
    assert dict(classes.agg(polars.col("pixels").sum()).iter_rows()) == expected
    entries = "(select unnest(class_pixels) one from read_parquet(?))"
    query = f"select one.value, sum(one.pixels) from {entries} group by 1"  # noqa: S608
    assert dict(duckdb.execute(query, [str(path)]).fetchall()) == expected


def test_offsets_are_packed_as_differences(published_sample: Path) -> None:
    group = pq.ParquetFile(published_sample / "manifest.parquet").metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for name in ("image_offset", "mask_offset"):
        assert "DELTA_BINARY_PACKED" in columns[name].encodings


def test_offsets_sizes_and_crcs_are_those_of_the_pngs(published_sample: Path, rows: Rows) -> None:
    for column, (name, suffix) in zip(("image", "mask"), ZIPS.values(), strict=True):
        data = (published_sample / name).read_bytes()
        with ZipFile(published_sample / name) as file:
            for row in rows:
                info = file.getinfo(row["patch_id"] + suffix)
                assert (row[f"{column}_size"], row[f"{column}_crc32"]) == (info.file_size, info.CRC)
                assert data[row[f"{column}_offset"] :][: info.file_size] == file.read(info)


def test_rows_are_those_of_the_pixels(rows: Rows, pixels: dict[str, list[npt.NDArray[Any]]]) -> None:
    for row, image, mask in zip(rows, pixels["images"], pixels["masks"], strict=True):
        channels = image.reshape(3, -1).astype(np.uint64)
        assert [row[name] for name in SUM_COLUMNS] == channels.sum(axis=1).tolist()
        assert [row[name] for name in SQUARE_COLUMNS] == (channels**2).sum(axis=1).tolist()
        values, counts = np.unique(mask, return_counts=True)
        pairs = [(one["value"], one["pixels"]) for one in row["class_pixels"]]
        assert pairs == list(zip(values.tolist(), counts.tolist(), strict=True))
        assert row["unlabelled"] == pytest.approx((mask == 255).mean())
        assert row["black"] == pytest.approx((image == 0).all(axis=0).mean())
        assert row["saturated"] == pytest.approx((image == 255).any(axis=0).mean())
    for name in ("saturated", "unlabelled"):
        assert len({row[name] for row in rows}) > 1, f"a sample with {name} pixels"


def test_bounds_are_those_that_gdal_reads(rows: Rows, sample: Sample) -> None:
    found = {row["patch_id"]: row for row in rows}
    for path, content in archives.members(sample.folder / archives.IMAGES):
        if path.endswith("_B03.tif"):
            row = found.pop(path.split("/")[2])
            with rasterio.open(io.BytesIO(content)) as file:
                assert [row[name] for name in ("x_min", "y_min", "x_max", "y_max")] == list(file.bounds)
                assert row["crs"] == file.crs.to_epsg()
                middle = [[value] for value in file.xy(59.5, 59.5)]
                (lon,), (lat,) = transform(file.crs, "OGC:CRS84", *middle)
                assert (row["lon"], row["lat"]) == pytest.approx((lon, lat), abs=1e-8)
    assert not found


def test_facts_are_those_of_the_metadata(rows: Rows, sample: Sample) -> None:
    order = [name for name, _ in BEN19]
    listed = [row for name in METADATA_FILES for row in pq.read_table(sample.folder / name).to_pylist()]
    for row, of_record in zip(rows, sorted(listed, key=itemgetter("patch_id")), strict=True):
        expected = {name: of_record[name] for name in FACTS}
        expected["labels"] = sorted(expected["labels"], key=order.index)
        assert {name: row[name] for name in FACTS} == expected


def test_dates_are_those_of_the_tile(rows: Rows) -> None:
    for row in rows:
        assert f"{row['date']:%Y%m%d}" == row["tile"].split("_")[2].split("T")[0]
        assert row["month"] == row["date"].month


def test_labels_agree_where_the_classes_in_the_mask_are_the_labels(
    rows: Rows, table: pa.Table, entries: tuple[TileEntry, ...], sample: Sample
) -> None:
    for row in rows:
        classes = {BEN19[one["value"]][0] for one in row["class_pixels"] if one["value"] != 255}
        assert row["labels_agree"] == (classes == set(row["labels"])) is True
    metadata = read_metadata([sample.folder / name for name in METADATA_FILES])
    for listed in metadata.values():
        listed["labels"][::2] ^= 1 << 18
    other, _ = again(metadata, table, entries)
    agree = [i % 2 == 1 for entry in entries for i in range(entry.patches)]
    assert other.column("labels_agree").to_pylist() == agree
    coarse, _ = again(metadata, table, entries, "clc_l1")
    assert coarse.column("labels_agree").null_count == len(table)


def test_the_card_has_the_statistics_of_the_pixels(
    published_sample: Path, rows: Rows, pixels: dict[str, list[npt.NDArray[Any]]]
) -> None:
    card = json.loads((published_sample / "dataset.json").read_bytes())
    train = [image for row, image in zip(rows, pixels["images"], strict=True) if row["split"] == "train"]
    assert 0 < len(train) < len(rows)
    for name, images in (("all", pixels["images"]), ("train", train)):
        channels = np.stack(images).transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
        np.testing.assert_allclose(card["images"][name]["mean"], channels.mean(axis=1), rtol=0, atol=1e-9)
        np.testing.assert_allclose(card["images"][name]["std"], channels.std(axis=1), rtol=0, atol=1e-9)
    splits = np.array([row["split"] for row in rows])
    assert card["counts"]["splits"] == {one: (splits == one).sum() for one in ("train", "validation", "test")}
    masks = np.concatenate(pixels["masks"])
    for part in ("all", "train", "validation", "test"):
        of_part = masks if part == "all" else masks[splits == part]
        assert {entry["value"]: entry["pixels"][part] for entry in card["mask_classes"]} == {
            value: int((of_part == value).sum()) for value in (*range(19), 255)
        }
    of_train = masks[splits == "train"]
    counts = {value: int((of_train == value).sum()) for value in range(19)}
    present = {value: count for value, count in counts.items() if count}
    share = {
        value: np.mean([(mask == value).mean() for mask in of_train if (mask == value).any()])
        for value in present
    }
    for entry in card["mask_classes"]:
        value, weights = entry["value"], entry["weights"]
        if value not in present:
            assert weights is None
            continue
        assert weights["inverse"] * counts[value] * len(present) == pytest.approx(sum(present.values()))
        assert weights["median_frequency"] == pytest.approx(np.median([*share.values()]) / share[value])
    assert card["ignore_index"] == 255
    assert len(card["clc_codes"]) == 45


def again(
    metadata: Metadata | None, table: pa.Table, entries: tuple[TileEntry, ...], form: MaskForm = "ben19"
) -> tuple[pa.Table, Statistics]:
    """Make the rows of a manifest again, with other metadata."""
    tables, statistics = [], Statistics()
    for entry in entries:
        of_tile = table.filter(pa.compute.equal(table.column("tile"), entry.tile))
        if not len(of_tile):
            continue
        rows = {kind: of_tile.select(SCHEMAS[kind].names) for kind in KINDS}
        tables.append(manifest_rows(entry, rows, metadata, form))
        statistics.add(tables[-1])
    return pa.concat_tables(tables), statistics


def test_without_metadata_its_columns_are_null(
    table: pa.Table, entries: tuple[TileEntry, ...], sample: Sample
) -> None:
    same, of_all = again(read_metadata([sample.folder / name for name in METADATA_FILES]), table, entries)
    assert same.equals(table)
    without, of_none = again(None, table, entries)
    unknown = [*FACTS, "labels_agree"]
    assert without.drop_columns(unknown).equals(table.drop_columns(unknown))
    assert all(without.column(name).null_count == len(table) for name in unknown)
    assert of_none.moments() == of_all.moments() != of_all.moments("train")
    assert (of_none.splits(), of_none.moments("train")) == ({}, None)
    one, of_one = again(read_metadata([sample.folder / METADATA_FILES[0]]), table, entries)
    listed = set(pq.read_table(sample.folder / METADATA_FILES[0]).column("patch_id").to_pylist())
    for row in one.to_pylist():
        assert [row[name] is None for name in FACTS] == [row["patch_id"] not in listed] * 6
    assert sum(of_one.splits().values()) == len(listed) < len(table)


@pytest.mark.parametrize("values", [(0, 0, 0), (255, 255, 255), (254, 255, 1)])
def test_deviations_of_all_patches_keep_their_digits(values: tuple[int, int, int]) -> None:
    patches, pixels = 549_488, 549_488 * 14_400
    # Every pixel has one value, but a single one has 0.
    sums = {name: (pixels - 1) * value for name, value in zip(SUM_COLUMNS, values, strict=True)}
    squares = {name: (pixels - 1) * value**2 for name, value in zip(SQUARE_COLUMNS, values, strict=True)}
    statistics = Statistics()
    statistics.sums["train"] = Counter({"patches": patches} | sums | squares)
    found = statistics.moments()
    assert found is not None
    assert found == statistics.moments("train")
    share = 1 / pixels
    np.testing.assert_allclose(found.mean, [value * (1 - share) for value in values], rtol=1e-12)
    np.testing.assert_allclose(found.std, np.array(values) * np.sqrt(share * (1 - share)), rtol=1e-9)


def test_sums_that_no_pixels_have_are_named(table: pa.Table, entries: tuple[TileEntry, ...]) -> None:
    row = table.slice(0, 1).to_pylist()[0] | {"red_sum": 14_400 * 200, "red_squares": 1}
    impossible = again(None, pa.Table.from_pylist([row], table.schema), entries)[1]
    with pytest.raises(ChecksumError, match=r"red_sum and red_squares of manifest\.parquet contradict"):
        impossible.moments()


def test_sums_of_a_bright_tile_do_not_overflow(table: pa.Table, entries: tuple[TileEntry, ...]) -> None:
    white = dict.fromkeys(SUM_COLUMNS, 14_400 * 255) | dict.fromkeys(SQUARE_COLUMNS, 14_400 * 255**2)
    row = table.slice(0, 1).to_pylist()[0] | white
    bright = pa.Table.from_pylist([row] * 50, table.schema)
    assert again(None, bright, entries)[1].moments() == Moments(mean=(255, 255, 255), std=(0, 0, 0))
