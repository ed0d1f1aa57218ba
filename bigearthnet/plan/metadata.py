"""The record's metadata files: split, labels, country, snow, clouds and shadow of each patch.

Stored as small arrays, one a tile: all 549,488 patches take 5 MB.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bigearthnet.errors import SourceError, plain
from bigearthnet.names import PATCH_PATTERN, TILES_LIMIT, Patch
from bigearthnet.options import COUNTRIES, LABELS, SPLITS

METADATA_SCHEMA = pa.schema(
    [
        ("patch_id", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("split", pa.string()),
        ("country", pa.string()),
        ("contains_seasonal_snow", pa.bool_()),
        ("contains_cloud_or_shadow", pa.bool_()),
    ]
)
S1_NAME: Final = "s1_name"
_S1_PATTERN: Final = (
    r"^S1(?P<satellite>[A-D])_IW_GRDH_1SDV_(?P<time>[0-9]{8}T[0-9]{6})_[0-9]{2}[A-Z]{3}_[0-9]+_[0-9]+$"
)
_BATCH_ROWS = 1 << 12

Rows = npt.NDArray[np.void]
"""A row a patch, sorted by cell.

cell: 100 × column + row. labels: bit i for `LABELS[i]`. split, country: index in `SPLITS`, `COUNTRIES`. snow,
cloud: contains_seasonal_snow and contains_cloud_or_shadow. s1: satellite and time of the Sentinel-1 patch,
such as `B20170612T165809`; empty if it is not named.
"""
Metadata = Mapping[str, Rows]
"""The rows of each tile, ascending."""

_ROW = np.dtype(
    [
        ("cell", np.uint16),
        ("labels", np.uint32),
        ("split", np.uint8),
        ("country", np.uint8),
        ("snow", np.bool_),
        ("cloud", np.bool_),
        ("s1", "S16"),
    ]
)
NO_ROWS: Final[Rows] = np.empty(0, _ROW)


def read_metadata(paths: Sequence[Path]) -> Metadata:
    """Read metadata files in the published form, batch by batch.

    Raises:
        SourceError: a file is not Parquet or damaged, a column or value is missing or unknown, or a patch
            is listed twice.
    """
    pieces: dict[str, list[Rows]] = defaultdict(list)
    for path in paths:
        for batch in _batches(path):
            for tile, rows in rows_by_tile(batch, path.name):
                pieces[tile].append(rows)
            if len(pieces) > TILES_LIMIT:
                raise SourceError(f"{path.name} has more than {TILES_LIMIT:,} tiles. Choose BigEarthNet v2.")
    tiles = {}
    for tile in sorted(pieces):
        rows = np.concatenate(pieces.pop(tile))
        rows = rows[np.argsort(rows["cell"], kind="stable")]
        twice = rows["cell"][1:][rows["cell"][1:] == rows["cell"][:-1]]
        if twice.size:
            names = " and ".join(path.name for path in paths)
            raise SourceError(f"{names}: the patch {patch_id(tile, twice[0])} is listed twice")
        tiles[tile] = rows
    return tiles


def patch_id(tile: str, cell: int) -> str:
    """Return the id of the patch in a cell."""
    column, row = divmod(int(cell), 100)
    return Patch(tile, column, row).patch_id


def s1_name(tile: str, cell: int, s1: bytes) -> str | None:
    """Return the name of the Sentinel-1 patch in a cell, for the record's own names; None if it has none."""
    column, row = divmod(int(cell), 100)
    text = s1.decode()
    return f"S1{text[0]}_IW_GRDH_1SDV_{text[1:]}_{tile[-5:]}_{column}_{row}" if text else None


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in METADATA_SCHEMA.names if name not in file.schema_arrow.names]
            if missing:
                raise SourceError(
                    f"{path.name}: there is no column {missing[0]}; is it a file of BigEarthNet v2?"
                )
            schema = METADATA_SCHEMA
            if S1_NAME in file.schema_arrow.names:
                schema = schema.append(pa.field(S1_NAME, pa.string()))
            for batch in file.iter_batches(_BATCH_ROWS, columns=schema.names, use_threads=False):
                batch.validate(full=True)
                yield batch.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # Arrow reports damage as OSError too
        raise SourceError(
            f"{path.name}: this is not a metadata file of the record, or damaged ({plain(error)}). "
            "Fetch it again."
        ) from error


def rows_by_tile(batch: pa.RecordBatch, where: str) -> Iterator[tuple[str, Rows]]:
    """Yield the rows of each tile in a batch with the columns of `METADATA_SCHEMA` and perhaps `s1_name`.

    Raises:
        SourceError: a value is missing or unknown; the message begins with `where`.
    """
    for name in METADATA_SCHEMA.names:
        if batch.column(name).null_count:
            raise SourceError(f"{where}: a patch has no {name}")
    ids = batch.column("patch_id")
    parts = pc.extract_regex(ids, f"^{PATCH_PATTERN}$")
    if parts.null_count:
        wrong = ids.filter(pc.is_null(parts))[0].as_py()
        raise SourceError(f"{where}: {repr(wrong)[:300]} is not a patch id, which has the form <tile>_26_57")
    tiles, column, row = parts.flatten()
    rows = np.empty(len(batch), _ROW)
    rows["cell"] = pc.add(pc.multiply(column.cast(pa.uint16()), 100), row.cast(pa.uint16()))
    rows["labels"] = _label_bits(batch.column("labels"), where)
    rows["split"] = _indices(batch.column("split"), SPLITS, "split", where)
    rows["country"] = _indices(batch.column("country"), COUNTRIES, "country", where)
    rows["snow"] = batch.column("contains_seasonal_snow")
    rows["cloud"] = batch.column("contains_cloud_or_shadow")
    rows["s1"] = _s1(batch)
    encoded = tiles.dictionary_encode()
    for i, tile in enumerate(encoded.dictionary.to_pylist()):
        yield tile, rows[encoded.indices.to_numpy() == i]


def _indices(column: pa.Array, values: Sequence[str], what: str, where: str) -> npt.NDArray[np.uint32]:
    """Index in `values` of each value of a column."""
    found = pc.index_in(column, value_set=pa.array(values, pa.string()))
    if found.null_count:
        unknown = column.filter(pc.is_null(found))[0].as_py()
        raise SourceError(
            f"{where}: {repr(unknown)[:300]} is not a {what} of BigEarthNet: {', '.join(values)}"
        )
    return np.asarray(found, np.uint32)


def _s1(batch: pa.RecordBatch) -> npt.NDArray[np.bytes_] | bytes:
    """Satellite and time of each patch's Sentinel-1 patch; empty where it has not the record's form."""
    if S1_NAME not in batch.schema.names:
        return b""
    parts = pc.extract_regex(batch.column(S1_NAME), _S1_PATTERN)
    joined = pc.binary_join_element_wise(*parts.flatten(), "")
    return np.asarray(pc.fill_null(joined, "").to_numpy(zero_copy_only=False), "S16")


def _label_bits(column: pa.Array, where: str) -> npt.NDArray[np.uint32]:
    """Labels of each patch as bits."""
    labels = _indices(pc.list_flatten(column), LABELS, "label", where)
    bits = np.zeros(len(column), np.uint32)
    np.bitwise_or.at(bits, pc.list_parent_indices(column).to_numpy(), np.uint32(1) << labels)
    return bits
