"""The manifest, a row a patch in the order of the zips, and the statistics that are sums over its rows."""

from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.names import PATCH_PIXELS, parse_patch
from bigearthnet.options import COUNTRIES, SPLITS
from bigearthnet.plan.metadata import LABELS, METADATA_SCHEMA, NO_ROWS, Metadata, patch_id
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.tile.rows import SCHEMAS, SQUARE_COLUMNS, SUFFIXES, SUM_COLUMNS, offset_column, size_column
from bigearthnet.zips import data_offsets

_PIXELS: Final = PATCH_PIXELS * PATCH_PIXELS
_FACTS: Final = ("split", "labels", "country", "contains_seasonal_snow", "contains_cloud_or_shadow")

SCHEMA: Final = pa.schema(
    [
        ("patch_id", pa.string()),
        ("tile", pa.string()),
        ("column", pa.uint8()),
        ("row", pa.uint8()),
        ("image_offset", pa.uint64()),
        ("mask_offset", pa.uint64()),
        *(field for kind in KINDS for field in SCHEMAS[kind] if field.name != "patch_id"),
        *(METADATA_SCHEMA.field(name) for name in _FACTS),
    ]
)
"""Offsets are those of the PNG's first byte in its zip. Columns from the metadata are null without it. All
other columns are those of `tile.rows.SCHEMAS`."""


@dataclass(slots=True)
class ChannelSums:
    """Sums over the pixels of 8-bit images, for each channel."""

    patches: int = 0
    sums: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(3, np.uint64))
    squares: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(3, np.uint64))

    def mean_and_deviation(self) -> dict[str, list[float]] | None:
        """Mean and population standard deviation of red, green, blue, in 0 to 255; None without patches."""
        if not self.patches:
            return None
        pixels = self.patches * _PIXELS
        means, deviations = [], []
        for total, squares in zip(self.sums.tolist(), self.squares.tolist(), strict=True):
            means.append(total / pixels)
            # In integers until the root: the difference of two large floats would lose digits.
            deviations.append(sqrt(pixels * squares - total * total) / pixels)
        return {"mean": means, "std": deviations}


@dataclass(slots=True)
class Statistics:
    """Sums over the rows of a manifest."""

    all: ChannelSums = field(default_factory=ChannelSums)
    train: ChannelSums = field(default_factory=ChannelSums)
    class_pixels: dict[int, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)

    def moments(self) -> dict[str, Any]:
        """Mean and standard deviation of all images, and of those of the split train."""
        return {"all": self.all.mean_and_deviation(), "train": self.train.mean_and_deviation()}

    def add(self, rows: pa.Table) -> None:
        """Add the rows of a tile."""
        splits = rows.column("split").to_pylist()
        train = np.array([split == "train" for split in splits], np.bool_)
        for sums, chosen in ((self.all, np.ones(len(train), np.bool_)), (self.train, train)):
            sums.patches += int(chosen.sum())
            sums.sums += _totals(rows, SUM_COLUMNS, chosen)
            sums.squares += _totals(rows, SQUARE_COLUMNS, chosen)
        for split in SPLITS:
            if split in splits:
                self.splits[split] = self.splits.get(split, 0) + splits.count(split)
        pixels = rows.column("class_pixels").combine_chunks().flatten()
        for value, count in zip(
            pixels.field("value").to_pylist(), pixels.field("pixels").to_pylist(), strict=True
        ):
            self.class_pixels[value] = self.class_pixels.get(value, 0) + count


class ManifestWriter:
    """Writes a manifest, a row group a tile, and adds up its `statistics`; a context manager."""

    def __init__(self, path: Path, metadata: Metadata | None) -> None:
        self.statistics = Statistics()
        self._metadata = metadata
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, tile: str, rows: dict[Kind, pa.Table], starts: dict[Kind, int]) -> None:
        """Add a tile's rows, with the columns of `SCHEMAS`; its shards begin at `starts` in the zips."""
        ids = rows["images"].column("patch_id").to_pylist()
        patches = [parse_patch(patch_id) for patch_id in ids]
        columns: dict[str, Any] = {
            "tile": [tile] * len(ids),
            "column": [patch.column for patch in patches],
            "row": [patch.row for patch in patches],
            **_facts(tile, ids, self._metadata),
        }
        for kind in KINDS:
            lengths = [len(patch_id) + len(SUFFIXES[kind]) for patch_id in ids]
            sizes = rows[kind].column(size_column(kind)).to_numpy()
            columns[offset_column(kind)] = data_offsets(lengths, sizes, starts[kind])
            columns |= {name: rows[kind].column(name) for name in SCHEMAS[kind].names}
        table = pa.table([columns[column.name] for column in SCHEMA], SCHEMA)
        self.statistics.add(table)
        self._writer.write_table(table)


def _facts(tile: str, ids: list[str], metadata: Metadata | None) -> dict[str, list[Any]]:
    """Return the metadata's columns for these patches; null for those that it does not list."""
    listed = {patch_id(tile, row["cell"]): _values(row) for row in (metadata or {}).get(tile, NO_ROWS)}
    nothing = [None] * len(_FACTS)
    return {name: [listed.get(one, nothing)[i] for one in ids] for i, name in enumerate(_FACTS)}


def _values(row: np.void) -> list[Any]:
    """Return what a row states, in the order of `_FACTS`."""
    labels = [label for i, label in enumerate(LABELS) if int(row["labels"]) >> i & 1]
    return [SPLITS[row["split"]], labels, COUNTRIES[row["country"]], bool(row["snow"]), bool(row["cloud"])]


def _totals(
    rows: pa.Table, columns: tuple[str, ...], chosen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint64]:
    return np.array(
        [rows.column(name).to_numpy()[chosen].sum(dtype=np.uint64) for name in columns], np.uint64
    )
