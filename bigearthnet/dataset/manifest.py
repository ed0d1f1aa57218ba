"""The manifest, a row a patch in the order of the zips, and the statistics that are sums over its rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, Final

import pyarrow as pa

from bigearthnet.dataset.card import Moments, TileEntry
from bigearthnet.names import PATCH_PIXELS, Patch, parse_patch
from bigearthnet.options import COUNTRIES, SPLITS, SplitName
from bigearthnet.plan.metadata import LABELS, METADATA_SCHEMA, NO_ROWS, Metadata, Rows
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.tile.rows import SCHEMAS, SQUARE_COLUMNS, SUFFIXES, SUM_COLUMNS, column
from bigearthnet.zips.join import data_offsets

_PIXELS: Final = PATCH_PIXELS * PATCH_PIXELS
_CHANNEL_COLUMNS: Final = (*SUM_COLUMNS, *SQUARE_COLUMNS)
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


class Statistics:
    """Sums over the rows of a manifest."""

    def __init__(self) -> None:
        # Number of patches, and sums of the channels' columns, of each split; None: not known.
        self.by_split: dict[str | None, Counter[str]] = {}
        self.class_pixels: Counter[int] = Counter()  # number of pixels of each value of the masks

    def add(self, rows: pa.Table) -> None:
        """Add the rows of a tile."""
        wanted = [("patch_id", "count"), *((name, "sum") for name in _CHANNEL_COLUMNS)]
        groups = rows.group_by("split", use_threads=False).aggregate(wanted)
        for sums in groups.rename_columns(["split", "patches", *_CHANNEL_COLUMNS]).to_pylist():
            self.by_split.setdefault(sums.pop("split"), Counter()).update(sums)
        pixels = rows.column("class_pixels").combine_chunks().flatten()
        values, counts = (pixels.field(name).to_pylist() for name in ("value", "pixels"))
        for value, count in zip(values, counts, strict=True):
            self.class_pixels[value] += count

    def splits(self) -> dict[str, int]:
        """Return the number of patches of each split that has some."""
        return {split: self.by_split[split]["patches"] for split in SPLITS if split in self.by_split}

    def moments(self, split: SplitName | None = None) -> Moments | None:
        """Return mean and population standard deviation of each channel, of a split or of all patches.

        Returns:
            None without patches.
        """
        sums = self.by_split.get(split) if split else sum(self.by_split.values(), Counter())
        if not sums:
            return None
        pixels = sums["patches"] * _PIXELS
        means, deviations = [], []
        for total, squares in zip(SUM_COLUMNS, SQUARE_COLUMNS, strict=True):
            means.append(sums[total] / pixels)
            # In integers until the root: the difference of two large floats would lose digits.
            deviations.append(sqrt(pixels * sums[squares] - sums[total] ** 2) / pixels)
        return Moments.model_validate({"mean": means, "std": deviations})


def manifest_rows(entry: TileEntry, rows: Mapping[Kind, pa.Table], metadata: Metadata | None) -> pa.Table:
    """Return the rows of a tile with patches, made of those of its images and masks."""
    ids = rows["images"].column("patch_id").to_pylist()
    patches = [parse_patch(patch_id) for patch_id in ids]
    columns: dict[str, Any] = {
        "tile": [entry.tile] * len(ids),
        "column": [patch.column for patch in patches],
        "row": [patch.row for patch in patches],
        **_facts(patches, (metadata or {}).get(entry.tile, NO_ROWS)),
    }
    for kind in KINDS:
        lengths = [len(patch_id) + len(SUFFIXES[kind]) for patch_id in ids]
        sizes = rows[kind].column(column(kind, "size")).to_numpy()
        columns[column(kind, "offset")] = data_offsets(lengths, sizes, entry.shard(kind).start)
        columns |= {name: rows[kind].column(name) for name in SCHEMAS[kind].names}
    return pa.table([columns[name] for name in SCHEMA.names], SCHEMA)


def _facts(patches: Sequence[Patch], listed: Rows) -> dict[str, list[Any]]:
    """Return the metadata's columns for patches of a tile; null for those that are not listed."""
    stated: dict[int, tuple[Any, ...]] = {}
    for cell, bits, split, country, snow, cloud in listed.tolist():
        labels = [label for i, label in enumerate(LABELS) if bits >> i & 1]
        stated[cell] = SPLITS[split], labels, COUNTRIES[country], snow, cloud
    nothing = (None,) * len(_FACTS)
    values = [stated.get(100 * patch.column + patch.row, nothing) for patch in patches]
    return {name: [row[i] for row in values] for i, name in enumerate(_FACTS)}
