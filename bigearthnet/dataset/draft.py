"""A dataset that is about to be published, for those who make its documents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.dataset.card import Card
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.plan.recipe import Kind
from bigearthnet.tile.rows import column


@dataclass(frozen=True, slots=True, eq=False)
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

    def rows_of(self, patches: Sequence[tuple[int, int]], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield columns of the rows of patches, each given by its tile's index and its place in the tile."""
        tiles = [index for index, entry in enumerate(self.card.tiles) if entry.patches]
        with pq.ParquetFile(self.manifest) as manifest:
            for tile, nth in patches:
                rows = manifest.read_row_group(tiles.index(tile), list(columns), use_threads=False)
                yield rows.slice(nth, 1).to_pylist()[0]

    def pngs(self, kind: Kind, patches: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield images or masks of patches, given as for `rows_of`."""
        places = self.rows_of(patches, [column(kind, "offset"), column(kind, "size")])
        for (tile, _), place in zip(patches, places, strict=True):
            yield self.read(kind, tile, *place.values())
