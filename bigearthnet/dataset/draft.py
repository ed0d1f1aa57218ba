"""A dataset that is about to be published, for those who make its documents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.dataset.card import Card
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.plan.recipe import Kind
from bigearthnet.tile.rows import column


@dataclass(frozen=True, slots=True)
class Draft:
    """A dataset without its documents."""

    card: Card  # its files are the zips and the manifest
    manifest: Path  # on this machine
    tiles: Sequence[FinishedTile]  # in the order of the zips
    cache: TileCache

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the index of each tile with patches, and columns of its rows in the manifest."""
        with pq.ParquetFile(self.manifest) as manifest:
            tiles = (index for index, entry in enumerate(self.card.tiles) if entry.patches)
            for group, index in enumerate(tiles):
                yield index, manifest.read_row_group(group, list(columns), use_threads=False)

    def read(self, kind: Kind, tile: int, offset: int, size: int) -> bytes:
        """Read an image or mask of the tile with that index: `size` bytes at the manifest's `offset`."""
        source = self.tiles[tile][kind].source
        start = source.start + offset - self.card.tiles[tile].shard(kind).start
        with self.cache.store.open(source.file, start, start + size) as reader:
            return reader.read()

    def png(self, kind: Kind, tile: int, nth: int) -> bytes:
        """Read an image or mask: the `nth` of the tile with that index."""
        group = sum(entry.patches > 0 for entry in self.card.tiles[:tile])
        columns = [column(kind, "offset"), column(kind, "size")]
        with pq.ParquetFile(self.manifest) as manifest:
            row = manifest.read_row_group(group, columns, use_threads=False).slice(nth, 1).to_pylist()[0]
        return self.read(kind, tile, *(row[name] for name in columns))
