"""The rows of a tile: what conversion tells of each image and each mask."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.plan.recipe import Kind
from bigearthnet.store.disk import translate_os_errors

BOUND_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
_CHANNELS = ("red", "green", "blue")
SUM_COLUMNS = tuple(f"{channel}_sum" for channel in _CHANNELS)
SQUARE_COLUMNS = tuple(f"{channel}_squares" for channel in _CHANNELS)

SCHEMAS: Final[dict[Kind, pa.Schema]] = {
    "images": pa.schema(
        [
            ("patch_id", pa.string()),
            ("image_size", pa.uint32()),
            ("image_crc32", pa.uint32()),
            ("crs", pa.int32()),
            *((name, pa.float64()) for name in BOUND_COLUMNS),
            *((name, pa.uint32()) for name in (*SUM_COLUMNS, *SQUARE_COLUMNS)),
        ]
    ),
    "masks": pa.schema(
        [
            ("patch_id", pa.string()),
            ("mask_size", pa.uint32()),
            ("mask_crc32", pa.uint32()),
            ("class_pixels", pa.list_(pa.struct([("value", pa.uint16()), ("pixels", pa.uint32())]))),
        ]
    ),
}
"""Columns by kind: sizes in bytes of the PNG, crs as EPSG code, bounds in its metres; sums and sums of
squares of a channel's 14,400 pixels (0 to 255); class_pixels has the values that occur in the mask."""

SUFFIXES: Final[dict[Kind, str]] = {"images": ".png", "masks": "_mask.png"}
"""What follows the patch id in a member's name."""


def column(kind: Kind, what: Literal["size", "crc32", "offset"]) -> str:
    """Return the name of a column about the PNGs of a kind; only the manifest has offsets."""
    return f"{kind.removesuffix('s')}_{what}"


def write_rows(rows: Sequence[Mapping[str, Any]], kind: Kind, path: Path) -> None:
    """Write rows with the columns of `SCHEMAS[kind]` as Parquet."""
    with translate_os_errors("write", path):
        pq.write_table(pa.Table.from_pylist(list(rows), SCHEMAS[kind]), path, compression="zstd")


def members(rows: pa.Table, kind: Kind) -> list[tuple[bytes, int, int]]:
    """Return name, size and CRC-32 of each row's member in the zip."""
    names = [f"{patch_id}{SUFFIXES[kind]}".encode() for patch_id in rows.column("patch_id").to_pylist()]
    sizes, crc32s = (rows.column(column(kind, what)).to_pylist() for what in ("size", "crc32"))
    return list(zip(names, sizes, crc32s, strict=True))
