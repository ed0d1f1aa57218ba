"""The record's metadata files: split, labels, country, snow, clouds and shadow of each patch.

Stored as small arrays, one a tile: all 549,488 patches take 5 MB.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
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
_BATCH_ROWS = 1 << 12
_COUNTRIES_LIMIT = 255

_ROW = np.dtype(
    [
        ("cell", np.uint16),
        ("labels", np.uint32),
        ("split", np.uint8),
        ("country", np.uint8),
        ("snow", np.bool_),
        ("cloud", np.bool_),
    ]
)

Rows = npt.NDArray[np.void]
"""A row a patch, sorted by place.

place: 100 × column + row. labels: bit i for `LABELS[i]`. split: index in `SPLITS`. country: index in
`Metadata.countries`. snow, cloud: contains_seasonal_snow and contains_cloud_or_shadow.
"""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Rows of each tile, and the names of the countries that occur."""

    tiles: dict[str, Rows]
    countries: tuple[str, ...]

    def rows(self, tile: str) -> Rows:
        """Return the rows of a tile; none if it is not listed."""
        return self.tiles.get(tile, np.empty(0, _ROW))


def read_metadata(paths: Sequence[Path]) -> Metadata:
    """Read metadata files in the published form, batch by batch.

    Raises:
        SourceError: a file is not Parquet or damaged, a column or value is missing or unknown, or a patch
            is listed twice.
    """
    pieces: dict[str, list[Rows]] = defaultdict(list)
    countries: list[str] = []
    for path in paths:
        for batch in _batches(path):
            for tile, rows in _by_tile(batch, countries, path.name):
                pieces[tile].append(rows)
    tiles = {}
    for tile in sorted(pieces):
        rows = np.concatenate(pieces.pop(tile))
        rows = rows[np.argsort(rows["cell"], kind="stable")]
        twice = rows["cell"][1:][rows["cell"][1:] == rows["cell"][:-1]]
        if twice.size:
            column, row = divmod(int(twice[0]), 100)
            names = " and ".join(path.name for path in paths)
            raise SourceError(f"{names}: the patch {tile}_{column:02d}_{row:02d} is listed twice")
        tiles[tile] = rows
    return Metadata(tiles, tuple(countries))


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in METADATA_SCHEMA.names if name not in file.schema_arrow.names]
            if missing:
                raise SourceError(
                    f"{path.name}: there is no column {missing[0]}; is it a file of BigEarthNet v2?"
                )
            for batch in file.iter_batches(_BATCH_ROWS, columns=METADATA_SCHEMA.names, use_threads=False):
                batch.validate(full=True)
                yield batch.select(METADATA_SCHEMA.names).cast(METADATA_SCHEMA)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # Arrow reports damage as OSError too
        raise SourceError(
            f"{path.name}: this is not a metadata file of the record, or damaged ({error}). Fetch it again."
        ) from error


def _by_tile(batch: pa.RecordBatch, countries: list[str], where: str) -> Iterator[tuple[str, Rows]]:
    """Yield the rows of each tile in a batch; appends new countries to `countries`."""
    for name in METADATA_SCHEMA.names:
        if batch.column(name).null_count:
            raise SourceError(f"{where}: a patch has no {name}")
    ids = batch.column("patch_id")
    valid = pc.match_substring_regex(ids, f"^{PATCH_PATTERN}$")
    if not pc.all(valid).as_py():
        wrong = ids.filter(pc.invert(valid))[0].as_py()
        raise SourceError(f"{where}: {wrong!r} is not a patch id, which has the form <tile>_26_57")
    countries += [c for c in pc.unique(batch.column("country")).to_pylist() if c not in countries]
    if len(countries) > _COUNTRIES_LIMIT:
        raise SourceError(
            f"{where}: there are more than {_COUNTRIES_LIMIT} countries; is the column damaged?"
        )
    rows = np.empty(len(batch), _ROW)
    rows["cell"] = 100 * _digits(ids, -5, -3) + _digits(ids, -2, None)
    rows["labels"] = _label_bits(batch.column("labels"), where)
    rows["split"] = _indices(batch.column("split"), SPLITS, "split", where)
    rows["country"] = _indices(batch.column("country"), countries, "country", where)
    rows["snow"] = batch.column("contains_seasonal_snow").to_numpy(zero_copy_only=False)
    rows["cloud"] = batch.column("contains_cloud_or_shadow").to_numpy(zero_copy_only=False)
    tiles = pc.utf8_slice_codeunits(ids, 0, -6).dictionary_encode()
    indices = tiles.indices.to_numpy()
    for i, tile in enumerate(tiles.dictionary.to_pylist()):
        yield tile, rows[indices == i]


def _digits(ids: pa.Array, start: int, stop: int | None) -> npt.NDArray[np.uint16]:
    number: npt.NDArray[np.uint16] = pc.cast(pc.utf8_slice_codeunits(ids, start, stop), pa.uint16()).to_numpy(
        zero_copy_only=False
    )
    return number


def _indices(column: pa.Array, values: Sequence[str], what: str, where: str) -> npt.NDArray[np.uint32]:
    """Index in `values` of each value of a column."""
    found = pc.index_in(column, value_set=pa.array(values, pa.string()))
    if found.null_count:
        unknown = column.filter(pc.is_null(found))[0].as_py()
        raise SourceError(f"{where}: {unknown!r} is not a {what} of BigEarthNet: {', '.join(values)}")
    indices: npt.NDArray[np.uint32] = found.to_numpy(zero_copy_only=False).astype(np.uint32)
    return indices


def _label_bits(column: pa.Array, where: str) -> npt.NDArray[np.uint32]:
    """Labels of each patch as bits."""
    labels = _indices(pc.list_flatten(column), LABELS, "label", where)
    bits = np.zeros(len(column), np.uint32)
    np.bitwise_or.at(bits, pc.list_parent_indices(column).to_numpy(), np.uint32(1) << labels)
    return bits
