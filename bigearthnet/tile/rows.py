"""The rows of a tile: what conversion tells of each image and each mask."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bigearthnet.errors import ChecksumError, plain
from bigearthnet.names import PATCH_PATTERN
from bigearthnet.plan.recipe import Kind
from bigearthnet.store.disk import translate_os_errors
from bigearthnet.zips.format import LIMIT_32

BOUND_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
_CHANNELS = ("red", "green", "blue")
SUM_COLUMNS = tuple(f"{channel}_sum" for channel in _CHANNELS)
SQUARE_COLUMNS = tuple(f"{channel}_squares" for channel in _CHANNELS)
EXTREME_COLUMNS = ("black", "saturated")

SCHEMAS: Final[dict[Kind, pa.Schema]] = {
    "images": pa.schema(
        [
            ("patch_id", pa.string()),
            ("image_size", pa.uint32()),
            ("image_crc32", pa.uint32()),
            ("crs", pa.int32()),
            *((name, pa.float64()) for name in BOUND_COLUMNS),
            *((name, pa.uint32()) for name in (*SUM_COLUMNS, *SQUARE_COLUMNS)),
            *((name, pa.float32()) for name in EXTREME_COLUMNS),
        ]
    ),
    "masks": pa.schema(
        [
            ("patch_id", pa.string()),
            ("mask_size", pa.uint32()),
            ("mask_crc32", pa.uint32()),
            ("class_pixels", pa.list_(pa.struct([("value", pa.uint16()), ("pixels", pa.int64())]))),
        ]
    ),
}
"""Columns by kind: sizes in bytes of the PNG, crs as EPSG code, bounds in its metres; sums and sums of
squares of a channel's 14,400 pixels (0 to 255); black and saturated: share of the pixels that are 0 in all
channels, and 255 in one or more; class_pixels has the values that occur in the mask, with types that can be
summed over all patches."""

_BATCH_ROWS: Final = 256
_STATED: Final = {field.name for schema in SCHEMAS.values() for field in schema}

SUFFIXES: Final[dict[Kind, str]] = {"images": ".png", "masks": "_mask.png"}
"""What follows the patch id in a member's name."""


def column(kind: Kind, what: Literal["size", "crc32", "offset"]) -> str:
    """Return the name of a column about the PNGs of a kind; only the manifest has offsets."""
    return f"{kind.removesuffix('s')}_{what}"


class Rows:
    """Collects rows with the columns of `SCHEMAS[kind]`; tables need a tenth of the memory of dicts."""

    def __init__(self, kind: Kind) -> None:
        self._schema = SCHEMAS[kind]
        self._rows: list[Mapping[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the next row."""
        self._rows.append(row)
        if len(self._rows) == _BATCH_ROWS:
            self._pack()

    def write(self, path: Path) -> None:
        """Write the rows as Parquet."""
        self._pack()
        rows = pa.Table.from_batches(self._batches, self._schema).combine_chunks()
        with translate_os_errors("write", path):
            pq.write_table(rows, path, compression="zstd")

    def _pack(self) -> None:
        self._batches.append(pa.RecordBatch.from_pylist(self._rows, self._schema))
        self._rows = []


def write_rows(rows: Iterable[Mapping[str, Any]], kind: Kind, path: Path) -> None:
    """Write rows with the columns of `SCHEMAS[kind]` as Parquet."""
    collected = Rows(kind)
    for row in rows:
        collected.add(row)
    collected.write(path)


def read_rows(
    file: Path | BytesIO, columns: pa.Schema, where: str, advice: str, group: int | None = None
) -> pa.Table:
    """Read rows of tiles from Parquet: all, or those of a row group.

    Raises:
        ChecksumError: the file is damaged or has not these columns; `where` and `advice` are in the message.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            names = columns.names
            groups = range(parquet.num_row_groups) if group is None else [group]
            table = parquet.read_row_groups(groups, names, use_threads=False)
        table = table.select(names).cast(columns)
        table.validate(full=True)
        ids = table.column("patch_id")
        are_ids = pc.match_substring_regex(ids, f"^{PATCH_PATTERN}$")
        ascend = pc.less(ids.slice(0, max(len(ids) - 1, 0)), ids.slice(1))
        right = all(pc.all(each, min_count=0).as_py() for each in (are_ids, ascend))
        if not right or any(table.column(name).null_count for name in _STATED & {*names}):
            raise pa.ArrowInvalid("a value is missing, or the patch ids are not in their form and order")
        sizes = [table.column(name) for name in names if name.endswith("_size")]
        if any((pc.max(size).as_py() or 0) >= LIMIT_32 for size in sizes):
            raise pa.ArrowInvalid("a PNG has 4 GiB or more")
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise ChecksumError(f"{where} is damaged ({plain(error)}). {advice}") from error
    return table


def members(rows: pa.Table, kind: Kind) -> list[tuple[bytes, int, int]]:
    """Return name, size and CRC-32 of each row's member in the zip."""
    names = [f"{patch_id}{SUFFIXES[kind]}".encode() for patch_id in rows.column("patch_id").to_pylist()]
    sizes, crc32s = (rows.column(column(kind, what)).to_pylist() for what in ("size", "crc32"))
    return list(zip(names, sizes, crc32s, strict=True))
