"""Finished tiles: shards that a published zip holds, or that a run left in `.tiles/` for the next one.

Below `.tiles/<key>/` are a shard, its rows and, written last, the description of both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from bigearthnet.dataset.card import TileEntry
from bigearthnet.dataset.layout import MANIFEST, TILES, ZIPS
from bigearthnet.dataset.published import Published, local_manifest
from bigearthnet.errors import ChangedError
from bigearthnet.plan.recipe import Kind, Recipe
from bigearthnet.plan.selection import TilePlan
from bigearthnet.source.stream import Mark
from bigearthnet.store import Range, Store, StoredFile
from bigearthnet.tile.convert import ConvertedTile, Rejected, rows_file, shard_file
from bigearthnet.tile.rows import SCHEMAS, offset_column

_DESCRIPTION: Final = "tile.json"
_SHARD: Final = "members"
_ROWS: Final = "rows.parquet"


@dataclass(frozen=True, slots=True)
class Shard:
    """The images or masks of a tile, in a store.

    `source` is the bytes of its members, `rejected` the patches of the tile that were left out, `mark` the
    position in the stream that it was made from: None where it was no stream, or is published.
    """

    tile: str
    kind: Kind
    key: str
    source: Range
    patches: int
    rejected: tuple[Rejected, ...]
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class FinishedTile:
    """A tile whose images and masks are in the store."""

    images: Shard
    masks: Shard

    def shard(self, kind: Kind) -> Shard:
        """The shard of that kind."""
        return self.images if kind == "images" else self.masks

    @property
    def tile(self) -> str:
        """Name of the tile."""
        return self.images.tile

    @property
    def patches(self) -> int:
        """Number of patches in each shard."""
        return self.images.patches

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The patches that were left out."""
        return self.images.rejected


@dataclass(frozen=True, slots=True)
class _Description:
    patches: int
    rejected: tuple[Rejected, ...]
    mark: Mark | None
    size: int
    rows_size: int


_DESCRIPTIONS = TypeAdapter(_Description)


class TileCache:
    """The finished tiles in a store, which holds `published`; `scratch` takes a copy of the manifest.

    With `streams` the run streams the images, which verifies what earlier streams left in `.tiles/`.
    """

    def __init__(self, store: Store, published: Published | None, scratch: Path, *, streams: bool) -> None:
        self._store = store
        self._streams = streams
        self.published = published
        self._scratch = scratch
        tiles = published.card.tiles if published is not None and MANIFEST in published.intact else ()
        self._digests = {} if published is None else published.card.parameters.digests
        self._entries = {entry.tile: entry for entry in tiles}
        self._row_groups = {tile: i for i, tile in enumerate(t.tile for t in tiles if t.patches)}

    def find(self, kind: Kind, tile: str, key: str) -> Shard | None:
        """Return the shard with a key, published or in `.tiles/`; None if it has to be made."""
        entry = self._entry(kind, tile)
        if entry is not None and entry.shard(kind).key == key:
            return self._published_shard(kind, entry)
        return self._staged_shard(kind, tile, key)

    def held(self, kind: Kind, tile: TilePlan, recipe: Recipe) -> Shard | None:
        """Return a published shard of other patches of the tile that were made in the same way."""
        entry = self._entry(kind, tile.tile)
        if entry is None or self._digests.get(kind) != recipe.digest(kind):
            return None
        return self._published_shard(kind, entry)

    def rows(self, shard: Shard) -> pa.Table:
        """Return the rows of a shard, with the columns of `SCHEMAS`; of a published one also its offsets.

        Raises:
            ChangedError: the rows are gone.
        """
        if not shard.patches:
            return SCHEMAS[shard.kind].empty_table()
        if not shard.source.file.name.startswith(TILES):
            columns = [*SCHEMAS[shard.kind].names, offset_column(shard.kind)]
            return self._manifest.read_row_group(self._row_groups[shard.tile], columns, use_threads=False)
        name = _name(shard.key, _ROWS)
        data = self._store.read(name)
        if data is None:
            raise ChangedError(f"{self._store.url}/{name} was removed during the run. Run again.")
        return pq.ParquetFile(BytesIO(data)).read(use_threads=False)

    def add(self, kind: Kind, key: str, made: ConvertedTile, mark: Mark | None, folder: Path) -> Shard:
        """Store a shard and its rows from the `folder` they were written to; their description comes last."""
        stored = self._store.upload(folder / shard_file(kind), _name(key, _SHARD))
        rows = self._store.upload(folder / rows_file(kind), _name(key, _ROWS))
        description = _Description(made.patches, made.rejected, mark, stored.size, rows.size)
        self._store.write(_name(key, _DESCRIPTION), _DESCRIPTIONS.dump_json(description))
        return Shard(made.tile, kind, key, Range(stored, 0, stored.size), made.patches, made.rejected, mark)

    def drop(self, keys: Iterable[str]) -> None:
        """Remove unpublished shards, their descriptions first."""
        names = [_name(key, name) for key in keys for name in (_DESCRIPTION, _SHARD, _ROWS)]
        self._store.delete(name for name in names if name.endswith(_DESCRIPTION))
        self._store.delete(names)

    def clear(self) -> None:
        """Remove all unpublished shards."""
        self._store.delete([file.name for file in self._store.list(TILES)])
        if self._store.folder is not None:
            rmtree(self._store.folder / TILES, ignore_errors=True)  # folders that a killed run left empty

    def _entry(self, kind: Kind, tile: str) -> TileEntry | None:
        if self.published is None or ZIPS[kind] not in self.published.intact:
            return None
        return self._entries.get(tile)

    def _published_shard(self, kind: Kind, entry: TileEntry) -> Shard:
        assert self.published is not None  # noqa: S101
        place = entry.shard(kind)
        card = self.published.card
        rejected = tuple(one for one in card.rejected if one.patch_id[:-6] == entry.tile)
        source = Range(self.published.intact[ZIPS[kind]], place.start, place.stop)
        return Shard(entry.tile, kind, place.key, source, entry.patches, rejected, None)

    def _staged_shard(self, kind: Kind, tile: str, key: str) -> Shard | None:
        shard, rows, description = (
            self._staged.get(_name(key, name)) for name in (_SHARD, _ROWS, _DESCRIPTION)
        )
        if shard is None or rows is None or description is None:
            return None
        try:
            found = _DESCRIPTIONS.validate_json(self._store.read(description.name) or b"")
        except ValidationError:  # cut off, or by another version
            return None
        unverified = found.mark is not None and not self._streams
        if unverified or (shard.size, rows.size) != (found.size, found.rows_size):
            return None
        source = Range(shard, 0, shard.size)
        return Shard(tile, kind, key, source, found.patches, found.rejected, found.mark)

    @cached_property
    def _staged(self) -> dict[str, StoredFile]:
        return {file.name: file for file in self._store.list(TILES)}

    @cached_property
    def _manifest(self) -> pq.ParquetFile:
        assert self.published is not None  # noqa: S101
        return pq.ParquetFile(local_manifest(self.published, self._store, self._scratch))


def _name(key: str, name: str) -> str:
    return f"{TILES}{key}/{name}"
