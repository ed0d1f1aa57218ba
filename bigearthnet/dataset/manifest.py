"""The manifest: a row a patch, in the order of the zips."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bigearthnet.classes import MaskForm, ignore_index, label_bits
from bigearthnet.dataset.card import TileEntry
from bigearthnet.dataset.geography import is_utm, lon_lat
from bigearthnet.names import PATCH_METRES, PATCH_PIXELS, Patch, parse_patch
from bigearthnet.options import COUNTRIES, LABELS, SPLITS
from bigearthnet.plan.metadata import METADATA_SCHEMA, NO_ROWS, Metadata, Rows, s1_name
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.tile.rows import SCHEMAS, SUFFIXES, column
from bigearthnet.zips.join import data_offsets

_FACTS: Final = ("split", "labels", "country", "contains_seasonal_snow", "contains_cloud_or_shadow")
_OFFSETS: Final = ("image_offset", "mask_offset")

SCHEMA: Final = pa.schema(
    [
        ("patch_id", pa.string()),
        ("tile", pa.string()),
        ("column", pa.uint8()),
        ("row", pa.uint8()),
        ("date", pa.date32()),
        ("month", pa.uint8()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        *((name, pa.uint64()) for name in _OFFSETS),
        *(field for kind in KINDS for field in SCHEMAS[kind] if field.name != "patch_id"),
        ("unlabelled", pa.float32()),
        ("labels_agree", pa.bool_()),
        *(METADATA_SCHEMA.field(name) for name in _FACTS),
        ("s1_name", pa.string()),
    ]
)
"""date and month of acquisition (UTC); lon and lat of the patch's middle (OGC:CRS84), null outside of UTM.
Offsets are those of the PNG's first byte in its zip. unlabelled: share of the mask's pixels without a class.
labels_agree: whether the classes in the mask are the record's labels; null if the masks do not tell. Columns
from the metadata are null without it. All other columns are those of `tile.rows.SCHEMAS`."""


def open_manifest(path: Any) -> pq.ParquetWriter:
    """Open a manifest for writing; each table of rows becomes a row group."""
    others = [name for name in SCHEMA.names if name not in _OFFSETS]
    encodings = dict.fromkeys(_OFFSETS, "DELTA_BINARY_PACKED")
    return pq.ParquetWriter(
        path, SCHEMA, compression="zstd", use_dictionary=others, column_encoding=encodings
    )


def manifest_rows(
    entry: TileEntry, rows: Mapping[Kind, pa.Table], metadata: Metadata | None, form: MaskForm
) -> pa.Table:
    """Return the rows of a tile with patches, made of those of its images and masks, which are of a form."""
    ids = rows["images"].column("patch_id").to_pylist()
    patches = [parse_patch(patch_id) for patch_id in ids]
    day = datetime.strptime(entry.tile.split("_")[2], "%Y%m%dT%H%M%S").date()
    listed, unknown = _listed((metadata or {}).get(entry.tile, NO_ROWS), patches)
    columns: dict[str, Any] = {
        "tile": [entry.tile] * len(ids),
        "column": [patch.column for patch in patches],
        "row": [patch.row for patch in patches],
        "date": [day] * len(ids),
        "month": [day.month] * len(ids),
        **_middles(rows["images"]),
        **_mask_facts(rows["masks"], listed, unknown, form),
        **_facts(entry.tile, listed, unknown),
    }
    for kind in KINDS:
        lengths = [len(patch_id) + len(SUFFIXES[kind]) for patch_id in ids]
        sizes = rows[kind].column(column(kind, "size")).to_numpy()
        columns[column(kind, "offset")] = data_offsets(lengths, sizes, entry.shard(kind).start)
        columns |= {name: rows[kind].column(name) for name in SCHEMAS[kind].names}
    return pa.table([columns[name] for name in SCHEMA.names], SCHEMA)


def _middles(images: pa.Table) -> dict[str, Any]:
    """Return longitude and latitude of the middle of each patch of a tile."""
    epsg = images.column("crs")[0].as_py()
    if not is_utm(epsg):
        return dict.fromkeys(("lon", "lat"), [None] * len(images))
    x, y = (images.column(name).to_numpy() + PATCH_METRES / 2 for name in ("x_min", "y_min"))
    return dict(zip(("lon", "lat"), lon_lat(epsg, x, y), strict=True))


def _listed(rows: Rows, patches: Sequence[Patch]) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Return the metadata's row of each patch of a tile, and which of them it does not list."""
    cells = np.array([100 * patch.column + patch.row for patch in patches])
    if not rows.size:
        return np.zeros(len(cells), rows.dtype), np.ones(len(cells), np.bool_)
    found = rows[np.minimum(np.searchsorted(rows["cell"], cells), len(rows) - 1)]
    return found, found["cell"] != cells


def _facts(tile: str, rows: Rows, unknown: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the columns from the metadata; null where a patch is `unknown`."""
    sets = sorted(set(rows["labels"].tolist()))
    labels = pa.array([[label for i, label in enumerate(LABELS) if bits >> i & 1] for bits in sets])
    of_patch = np.searchsorted(sets, rows["labels"])
    names = [s1_name(tile, cell, s1) for cell, s1 in rows[["cell", "s1"]].tolist()]
    return {
        "split": pa.array(SPLITS).take(pa.array(rows["split"], mask=unknown)),
        "labels": labels.take(pa.array(of_patch, mask=unknown)),
        "country": pa.array(COUNTRIES).take(pa.array(rows["country"], mask=unknown)),
        "contains_seasonal_snow": pa.array(rows["snow"], mask=unknown),
        "contains_cloud_or_shadow": pa.array(rows["cloud"], mask=unknown),
        "s1_name": pa.array(names, pa.string(), mask=unknown),
    }


def _mask_facts(
    masks: pa.Table, rows: Rows, unknown: npt.NDArray[np.bool_], form: MaskForm
) -> dict[str, Any]:
    """Return the share of unlabelled pixels, and whether the classes in the masks are the record's labels."""
    lists = masks.column("class_pixels").combine_chunks()
    patch = pc.list_parent_indices(lists).to_numpy()
    values, pixels = (lists.flatten().field(name).to_numpy() for name in ("value", "pixels"))
    ignored, bits = values == ignore_index(form), label_bits(form)
    unlabelled = np.bincount(patch[ignored], pixels[ignored], len(masks)) / PATCH_PIXELS**2
    if bits is None:
        return {"unlabelled": unlabelled, "labels_agree": [None] * len(masks)}
    found = np.zeros(len(masks), np.uint32)
    np.bitwise_or.at(found, patch, bits[values])
    return {"unlabelled": unlabelled, "labels_agree": pa.array(found == rows["labels"], mask=unknown)}
