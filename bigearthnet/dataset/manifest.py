"""The manifest, a row a patch, and the statistics that are sums over its rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.names import PATCH_PIXELS, parse_patch
from bigearthnet.options import SPLITS
from bigearthnet.plan.metadata import LABELS, Metadata

_PIXELS = PATCH_PIXELS * PATCH_PIXELS
_METADATA_COLUMNS = ("split", "labels", "country", "contains_seasonal_snow", "contains_cloud_or_shadow")

_CLASS_PIXELS = pa.map_(pa.uint16(), pa.uint16())
_CHANNELS = ("red", "green", "blue")
SUM_COLUMNS = tuple(f"{channel}_sum" for channel in _CHANNELS)
SQUARE_COLUMNS = tuple(f"{channel}_squares" for channel in _CHANNELS)

TILE_SCHEMA = pa.schema(
    [
        ("patch_id", pa.string()),
        ("image_size", pa.uint32()),
        ("image_crc32", pa.uint32()),
        ("mask_size", pa.uint32()),
        ("mask_crc32", pa.uint32()),
        ("crs", pa.int32()),
        ("x_min", pa.float64()),
        ("y_min", pa.float64()),
        ("x_max", pa.float64()),
        ("y_max", pa.float64()),
        ("class_pixels", _CLASS_PIXELS),
        *((name, pa.uint64()) for name in (*SUM_COLUMNS, *SQUARE_COLUMNS)),
    ]
)
"""What converting a tile leaves for the manifest: a row a patch that was converted."""

MANIFEST_SCHEMA = pa.schema(
    [
        ("patch_id", pa.string()),
        ("tile", pa.string()),
        ("column", pa.uint8()),
        ("row", pa.uint8()),
        ("image_size", pa.uint32()),
        ("image_crc32", pa.uint32()),
        ("mask_size", pa.uint32()),
        ("mask_crc32", pa.uint32()),
        ("split", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("country", pa.string()),
        ("contains_seasonal_snow", pa.bool_()),
        ("contains_cloud_or_shadow", pa.bool_()),
        ("crs", pa.int32()),
        ("x_min", pa.float64()),
        ("y_min", pa.float64()),
        ("x_max", pa.float64()),
        ("y_max", pa.float64()),
        ("class_pixels", _CLASS_PIXELS),
    ]
)
"""Sizes in bytes of the PNGs, crs as EPSG code, bounds in metres of it, class_pixels: value in the mask to
number of pixels, for the values that occur. Columns from the metadata are null where it is not at hand."""


@dataclass(slots=True)
class ChannelSums:
    """Sums over the pixels of 8-bit images, for each channel."""

    patches: int = 0
    sums: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(3, np.uint64))
    squares: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(3, np.uint64))

    def mean_and_deviation(self) -> dict[str, list[float]] | None:
        """Mean and (population) standard deviation of red, green, blue, in 0 to 255; none without patches."""
        if not self.patches:
            return None
        pixels = self.patches * _PIXELS
        means, deviations = [], []
        for total, squares in zip(self.sums.tolist(), self.squares.tolist(), strict=True):
            means.append(total / pixels)
            # In integers until the root: the difference of two large numbers would lose digits.
            deviations.append(sqrt(pixels * squares - total * total) / pixels)
        return {"mean": means, "std": deviations}


@dataclass(slots=True)
class Statistics:
    """What is summed up while the manifest is written."""

    all: ChannelSums = field(default_factory=ChannelSums)
    train: ChannelSums = field(default_factory=ChannelSums)
    class_pixels: dict[int, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)


def write_tile_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows of a tile (keys: those of `TILE_SCHEMA`), beside the place and then moved."""
    staged = path.with_name(f".{path.name}.part")
    try:
        pq.write_table(pa.Table.from_pylist(rows, TILE_SCHEMA), staged, compression="zstd")
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def write_manifest(tiles: Iterable[tuple[str, Path]], metadata: Metadata | None, path: Path) -> Statistics:
    """Write the manifest to `path`, a row group a tile, and sum up.

    Args:
        tiles: names of tiles, ascending, each with the file of its rows.
        metadata: what the record's metadata files say, if they are at hand.
        path: a new file; its caller stages it.
    """
    statistics = Statistics()
    with pq.ParquetWriter(path, MANIFEST_SCHEMA, compression="zstd") as writer:
        for tile, file in tiles:
            rows = pq.read_table(file)
            if rows.num_rows:
                facts = _facts(tile, rows, metadata)
                _sum_up(statistics, rows, facts["split"])
                writer.write_table(_joined(tile, rows, facts))
    statistics.class_pixels = dict(sorted(statistics.class_pixels.items()))
    statistics.splits = {split: statistics.splits[split] for split in SPLITS if split in statistics.splits}
    return statistics


def _facts(tile: str, rows: pa.Table, metadata: Metadata | None) -> dict[str, list[Any]]:
    """The metadata's columns for the rows; null for patches that it does not list."""
    countries = metadata.countries if metadata is not None else ()
    listed = {int(row["place"]): row for row in metadata.rows(tile)} if metadata is not None else {}
    columns: dict[str, list[Any]] = {name: [] for name in _METADATA_COLUMNS}
    for patch_id in rows.column("patch_id").to_pylist():
        row = listed.get(int(patch_id[-5:-3]) * 100 + int(patch_id[-2:]))
        values = [None] * len(_METADATA_COLUMNS) if row is None else _values(row, countries)
        for name, value in zip(_METADATA_COLUMNS, values, strict=True):
            columns[name].append(value)
    return columns


def _values(row: np.void, countries: tuple[str, ...]) -> list[Any]:
    return [
        SPLITS[row["split"]],
        _labels(int(row["labels"])),
        countries[row["country"]],
        bool(row["snow"]),
        bool(row["cloud"]),
    ]


def _labels(bits: int) -> list[str]:
    return [label for i, label in enumerate(LABELS) if bits >> i & 1]


def _joined(tile: str, rows: pa.Table, facts: dict[str, list[Any]]) -> pa.Table:
    patches = [parse_patch(patch_id) for patch_id in rows.column("patch_id").to_pylist()]
    made = {
        "tile": [tile] * len(patches),
        "column": [patch.column for patch in patches],
        "row": [patch.row for patch in patches],
        **facts,
    }
    columns = [
        pa.array(made[column.name], column.type) if column.name in made else rows.column(column.name)
        for column in MANIFEST_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=MANIFEST_SCHEMA)


def _sum_up(statistics: Statistics, rows: pa.Table, splits: list[str | None]) -> None:
    train = np.array([split == "train" for split in splits])
    for sums, chosen in ((statistics.all, np.ones(len(train), np.bool_)), (statistics.train, train)):
        sums.patches += int(chosen.sum())
        sums.sums += _totals(rows, SUM_COLUMNS, chosen)
        sums.squares += _totals(rows, SQUARE_COLUMNS, chosen)
    for split in splits:
        if split is not None:
            statistics.splits[split] = statistics.splits.get(split, 0) + 1
    for pixels in rows.column("class_pixels").to_pylist():
        for value, count in pixels:
            statistics.class_pixels[value] = statistics.class_pixels.get(value, 0) + count


def _totals(
    rows: pa.Table, columns: tuple[str, ...], chosen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint64]:
    return np.array(
        [rows.column(name).to_numpy()[chosen].sum(dtype=np.uint64) for name in columns], np.uint64
    )
