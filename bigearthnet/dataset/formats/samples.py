"""The patches of a draft in a shuffled order, each with its PNGs and facts.

A permutation of all patches would cost a bucket two requests a patch. Instead, runs of 64 patches that follow
each other in the zips are shuffled over the whole dataset, each is read by one request for its images and one
for its masks, and the patches of 16 runs at a time, from as many places, are shuffled among themselves. So
memory holds 1,024 patches, some 25 MB. The order is by digests, which no version of a library changes.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.manifest import SCHEMA
from bigearthnet.errors import ArchiveError
from bigearthnet.plan.recipe import KINDS, Kind, digest_of
from bigearthnet.tile.rows import column

FACTS: Final = (
    *("patch_id", "tile", "split", "country", "labels", "class_pixels", "unlabelled", "labels_agree"),
    *("date", "month", "lon", "lat", "contains_seasonal_snow", "contains_cloud_or_shadow", "s1_name"),
)
"""Columns of the manifest that go with a patch."""
NO_SPLIT: Final = "unassigned"
"""Stands for the split of patches that the metadata does not list."""

_COLUMNS: Final = (*FACTS, *(column(kind, what) for kind in KINDS for what in ("offset", "size", "crc32")))
_RUN: Final = 64
_RUNS_AT_ONCE: Final = 16
_FACTS_BYTES: Final = 3 << 10  # of a patch in a tar: JSON, three headers, and filling


@dataclass(frozen=True, slots=True)
class Sample:
    """A patch: the PNGs of its image and its mask, and its row's `FACTS`."""

    facts: Mapping[str, Any]
    image: bytes
    mask: bytes

    @property
    def split(self) -> str:
        """The split, or `NO_SPLIT`."""
        return self.facts["split"] or NO_SPLIT


@dataclass(frozen=True, slots=True)
class Totals:
    """Number of patches, and of bytes that they take in one format, by split."""

    patches: Mapping[str, int]
    size: Mapping[str, int]


def write_runs(draft: Draft, path: Path) -> Totals:
    """Write the manifest's rows as an Arrow file with a run in each batch, to read them in any order."""
    patches, size = Counter[str](), defaultdict[str, int](int)
    schema = pa.schema([field for field in SCHEMA if field.name in _COLUMNS])
    with pq.ParquetFile(draft.manifest) as manifest, pa.ipc.new_file(path, schema) as runs:
        for group in range(manifest.num_row_groups):
            rows = manifest.read_row_group(group, _COLUMNS, use_threads=False)
            runs.write_table(rows.select(schema.names), max_chunksize=_RUN)  # a row group is a tile
            sizes = pc.add(rows["image_size"], rows["mask_size"]).to_pylist()
            for split, png_bytes in zip(rows["split"].to_pylist(), sizes, strict=True):
                patches[split or NO_SPLIT] += 1
                size[split or NO_SPLIT] += png_bytes + _FACTS_BYTES
    return Totals(patches, size)


def shuffled(draft: Draft, runs: Path, seed: int) -> Iterator[Sample]:
    """Yield all patches in an order that depends on the seed and the runs of `write_runs`.

    Raises:
        ArchiveError: the PNGs in the store are not those of the manifest.
    """
    with pa.OSFile(str(runs)) as file, pa.ipc.open_file(file) as reader:
        order = sorted(range(reader.num_record_batches), key=lambda nth: digest_of(seed, nth))
        for first in range(0, len(order), _RUNS_AT_ONCE):
            some = order[first : first + _RUNS_AT_ONCE]
            samples = (one for nth in some for one in _read(draft, reader.get_batch(nth).to_pylist()))
            yield from sorted(samples, key=lambda one: digest_of(seed, one.facts["patch_id"]))


def _read(draft: Draft, rows: Sequence[Mapping[str, Any]]) -> Iterator[Sample]:
    """Yield the patches of a run."""
    images, masks = (_pngs(draft, kind, rows) for kind in KINDS)
    for row, image, mask in zip(rows, images, masks, strict=True):
        yield Sample({name: row[name] for name in FACTS}, image, mask)


def _pngs(draft: Draft, kind: Kind, rows: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the images or masks of a run, which are read at once."""
    offset, size, crc32 = (column(kind, what) for what in ("offset", "size", "crc32"))
    nth = next(i for i, entry in enumerate(draft.card.tiles) if entry.tile == rows[0]["tile"])
    source, in_zip = draft.tiles[nth][kind].source, draft.card.tiles[nth].shard(kind).start
    begin, end = rows[0][offset], rows[-1][offset] + rows[-1][size]
    start, stop = (source.start + position - in_zip for position in (begin, end))
    with BufferedReader(draft.cache.store.open(source.file, start, stop)) as reader:
        data = reader.read(end - begin)
    for row in rows:
        first = row[offset] - begin
        png = data[first : first + row[size]]
        if zlib.crc32(png) != row[crc32]:
            raise ArchiveError(
                f"the {kind} of {row['tile']} in {source.file.name} do not match their rows. "
                "Delete the dataset and prepare it again."
            )
        yield png
