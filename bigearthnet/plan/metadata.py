"""The record's metadata files: split, labels, country, snow, cloud and shadow of each patch.

Held as small arrays a tile: all 549,488 patches take some 5 MB.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bigearthnet.classes import BEN19
from bigearthnet.errors import SourceError
from bigearthnet.names import PATCH_PATTERN
from bigearthnet.options import SPLITS

LABELS = tuple(name for name, _ in BEN19)
_SCHEMA = pa.schema(
    [
        ("patch_id", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("split", pa.string()),
        ("country", pa.string()),
        ("contains_seasonal_snow", pa.bool_()),
        ("contains_cloud_or_shadow", pa.bool_()),
    ]
)
_BATCH_ROWS = 1 << 12

_ROW = np.dtype(
    [
        ("place", np.uint16),
        ("labels", np.uint32),
        ("split", np.uint8),
        ("country", np.uint8),
        ("snow", np.bool_),
        ("cloud", np.bool_),
    ]
)

Rows = npt.NDArray[np.void]
"""Structured, a row a patch, sorted by place.

place: 100 × column + row. labels: bit i for `LABELS[i]`. split: index in `SPLITS`. country: index in
`Metadata.countries`. snow, cloud: contains_seasonal_snow and contains_cloud_or_shadow.
"""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Rows of each tile, and the names of the countries that occur."""

    tiles: dict[str, Rows]
    countries: tuple[str, ...]

    def rows(self, tile: str) -> Rows:
        """Rows of a tile; none if it is not listed."""
        return self.tiles.get(tile, np.empty(0, _ROW))


def read_metadata(paths: Sequence[Path]) -> Metadata:
    """Read metadata files in the published form, batch by batch.

    Raises:
        SourceError: a file is no Parquet or damaged, lacks a column or a value, or holds an unknown split or
            label, or a patch is listed twice.
    """
    pieces: dict[str, list[Rows]] = {}
    countries: list[str] = []
    for path in paths:
        for batch in _batches(path):
            _sort_in(batch, pieces, countries, path.name)
    tiles = {}
    for tile in sorted(pieces):
        rows = np.concatenate(pieces.pop(tile))
        rows = rows[np.argsort(rows["place"], kind="stable")]
        twice = np.flatnonzero(rows["place"][1:] == rows["place"][:-1])
        if twice.size:
            column, row = divmod(int(rows["place"][twice[0]]), 100)
            names = " and ".join(path.name for path in paths)
            raise SourceError(f"{names}: expected each patch once, found {tile}_{column:02d}_{row:02d} twice")
        tiles[tile] = rows
    return Metadata(tiles, tuple(countries))


def _batches(path: Path) -> Iterable[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in _SCHEMA.names if name not in file.schema_arrow.names]
            if missing:
                raise SourceError(
                    f"{path.name}: expected a column {missing[0]}, found {file.schema_arrow.names}"
                )
            for batch in file.iter_batches(_BATCH_ROWS, columns=_SCHEMA.names, use_threads=False):
                batch.validate(full=True)
                yield batch.select(_SCHEMA.names).cast(_SCHEMA)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # an OSError is how Arrow finds damage
        raise SourceError(
            f"{path.name}: expected a Parquet file with the record's metadata, found something else "
            f"({error}); fetch it again"
        ) from error


def _sort_in(batch: pa.RecordBatch, pieces: dict[str, list[Rows]], countries: list[str], where: str) -> None:
    """Put the rows of a batch to their tiles."""
    for name in _SCHEMA.names:
        if batch.column(name).null_count:
            raise SourceError(f"{where}: expected a value of {name} for each patch, found null")
    ids = batch.column("patch_id")
    known = pc.match_substring_regex(ids, f"^{PATCH_PATTERN}$")
    if not pc.all(known).as_py():
        strange = ids.filter(pc.invert(known))[0].as_py()
        raise SourceError(f"{where}: expected patch ids like <tile>_26_57, found {strange!r}")
    tiles = pc.utf8_slice_codeunits(ids, 0, -6).dictionary_encode()
    rows = np.empty(len(batch), _ROW)
    rows["place"] = _places(ids)
    rows["labels"] = _label_bits(batch.column("labels"), where)
    rows["split"] = _indices(batch.column("split"), list(SPLITS), "split", where)
    for country in pc.unique(batch.column("country")).to_pylist():
        if country not in countries:
            countries.append(country)
    rows["country"] = _indices(batch.column("country"), countries, "country", where)
    rows["snow"] = batch.column("contains_seasonal_snow").to_numpy(zero_copy_only=False)
    rows["cloud"] = batch.column("contains_cloud_or_shadow").to_numpy(zero_copy_only=False)
    of_tile = tiles.indices.to_numpy()
    for i, name in enumerate(tiles.dictionary.to_pylist()):
        pieces.setdefault(name, []).append(rows[of_tile == i])


def _places(ids: pa.Array) -> npt.NDArray[np.uint16]:
    """100 × column + row, from the digits in `<tile>_<column>_<row>`."""
    column, row = (
        pc.cast(pc.utf8_slice_codeunits(ids, start, stop), pa.uint16()).to_numpy(zero_copy_only=False)
        for start, stop in ((-5, -3), (-2, None))
    )
    places: npt.NDArray[np.uint16] = 100 * column + row
    return places


def _indices(column: pa.Array, values: list[str], what: str, where: str) -> npt.NDArray[np.int32]:
    found = pc.index_in(column, value_set=pa.array(values, pa.string()))
    if found.null_count:
        strange = column.filter(pc.is_null(found))[0].as_py()
        raise SourceError(f"{where}: expected a {what} out of {values}, found {strange!r}")
    indices: npt.NDArray[np.int32] = found.to_numpy(zero_copy_only=False)
    return indices


def _label_bits(column: pa.Array, where: str) -> npt.NDArray[np.uint32]:
    """A bit a label, joined for each patch."""
    labels = _indices(pc.list_flatten(column), list(LABELS), "label", where)
    bits = np.zeros(len(column), np.uint32)
    np.bitwise_or.at(
        bits, pc.list_parent_indices(column).to_numpy(), np.uint32(1) << labels.astype(np.uint32)
    )
    return bits
