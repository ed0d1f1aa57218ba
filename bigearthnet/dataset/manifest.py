"""The manifest, a row a patch in the order of the zips, and the statistics that are sums over its rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bigearthnet.dataset.card import Moments
from bigearthnet.names import PATCH_PIXELS, Patch, parse_patch
from bigearthnet.options import COUNTRIES, SPLITS
from bigearthnet.plan.metadata import LABELS, METADATA_SCHEMA, NO_ROWS, Metadata, Rows
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.tile.rows import SCHEMAS, SQUARE_COLUMNS, SUFFIXES, SUM_COLUMNS, column
from bigearthnet.zips.join import data_offsets

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
    """Sums over the pixels of 8-bit images, by the columns of the manifest."""

    patches: int = 0
    sums: Counter[str] = field(default_factory=Counter)

    def add(self, rows: pa.Table) -> None:
        """Add the images of these rows."""
        self.patches += len(rows)
        for name in (*SUM_COLUMNS, *SQUARE_COLUMNS):
            self.sums[name] += pc.sum(rows.column(name), min_count=0).as_py()

    def moments(self) -> Moments | None:
        """Return mean and population standard deviation of each channel; None without patches."""
        if not self.patches:
            return None
        pixels = self.patches * _PIXELS
        means, deviations = [], []
        for total, squares in zip(SUM_COLUMNS, SQUARE_COLUMNS, strict=True):
            means.append(self.sums[total] / pixels)
            # In integers until the root: the difference of two large floats would lose digits.
            deviations.append(sqrt(pixels * self.sums[squares] - self.sums[total] ** 2) / pixels)
        return Moments.model_validate({"mean": means, "std": deviations})


@dataclass(slots=True)
class Statistics:
    """Sums over the rows of a manifest: of all images, of those of the split train, of pixels and patches."""

    all: ChannelSums = field(default_factory=ChannelSums)
    train: ChannelSums = field(default_factory=ChannelSums)
    class_pixels: Counter[int] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)

    def add(self, rows: pa.Table) -> None:
        """Add the rows of a tile."""
        self.all.add(rows)
        self.train.add(rows.filter(pc.equal(rows.column("split"), "train")))
        splits = Counter(rows.column("split").to_pylist())
        self.splits.update({split: splits[split] for split in SPLITS if split in splits})
        pixels = rows.column("class_pixels").combine_chunks().flatten()
        values, counts = (pixels.field(name).to_pylist() for name in ("value", "pixels"))
        for value, count in zip(values, counts, strict=True):
            self.class_pixels[value] += count


def manifest_rows(
    tile: str, rows: Mapping[Kind, pa.Table], starts: Mapping[Kind, int], metadata: Metadata | None
) -> pa.Table:
    """Return a tile's rows, made of those of both kinds; its shards begin at `starts` in the zips."""
    ids = rows["images"].column("patch_id").to_pylist()
    patches = [parse_patch(patch_id) for patch_id in ids]
    columns: dict[str, Any] = {
        "tile": [tile] * len(ids),
        "column": [patch.column for patch in patches],
        "row": [patch.row for patch in patches],
        **_facts(patches, (metadata or {}).get(tile, NO_ROWS)),
    }
    for kind in KINDS:
        lengths = [len(patch_id) + len(SUFFIXES[kind]) for patch_id in ids]
        sizes = rows[kind].column(column(kind, "size")).to_numpy()
        columns[column(kind, "offset")] = data_offsets(lengths, sizes, starts[kind])
        columns |= {name: rows[kind].column(name) for name in SCHEMAS[kind].names}
    return pa.table([columns[name] for name in SCHEMA.names], SCHEMA)


def _facts(patches: Sequence[Patch], listed: Rows) -> dict[str, list[Any]]:
    """Return the metadata's columns for patches of a tile; null for those that are not listed."""
    stated = {int(row["cell"]): _values(row) for row in listed}
    nothing = [None] * len(_FACTS)
    values = [stated.get(100 * patch.column + patch.row, nothing) for patch in patches]
    return {name: [row[i] for row in values] for i, name in enumerate(_FACTS)}


def _values(row: np.void) -> list[Any]:
    """Return what a row states, in the order of `_FACTS`."""
    labels = [label for i, label in enumerate(LABELS) if int(row["labels"]) >> i & 1]
    return [SPLITS[row["split"]], labels, COUNTRIES[row["country"]], bool(row["snow"]), bool(row["cloud"])]
