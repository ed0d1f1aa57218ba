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

from bigearthnet.dataset.card import Card
from bigearthnet.dataset.layout import MANIFEST, TILES, ZIPS
from bigearthnet.dataset.published import Published, local_manifest, tile_rows
from bigearthnet.errors import ChangedError
from bigearthnet.plan.recipe import KINDS, Kind, Recipe
from bigearthnet.plan.selection import TilePlan
from bigearthnet.source.stream import Mark
from bigearthnet.store import Range, Store, StoredFile
from bigearthnet.tile.convert import ConvertedTile, Rejected, rows_file, shard_file
from bigearthnet.tile.rows import SCHEMAS, column

_DESCRIPTION: Final = "tile.json"
_SHARD: Final = "members"
_ROWS: Final = "rows.parquet"


@dataclass(frozen=True, slots=True)
class Shard:
    """The images or masks of a tile, in a store."""

    tile: str
    kind: Kind
    key: str
    source: Range  # the bytes of its members
    patches: int
    rejected: tuple[Rejected, ...]  # patches of the tile that were left out
    mark: Mark | None  # position in the stream that it was made from; None if of a file, or published


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
        self.published = published
        self._store = store
        self._scratch = scratch
        self._streams = streams
        self._in_zips = {} if published is None else _shards_of(published)

    def find(self, kind: Kind, tile: str, key: str) -> Shard | None:
        """Return the shard with a key, published or in `.tiles/`; None if it has to be made."""
        shard = self._in_zips.get((kind, tile))
        return shard if shard is not None and shard.key == key else self._staged_shard(kind, tile, key)

    def held(self, kind: Kind, tile: TilePlan, recipe: Recipe) -> Shard | None:
        """Return a published shard of other patches of the tile that were made in the same way."""
        if self.published is None or self.published.card.parameters.digests.get(kind) != recipe.digest(kind):
            return None
        return self._in_zips.get((kind, tile.tile))

    def rows(self, shard: Shard) -> pa.Table:
        """Return the rows of a shard, with the columns of `SCHEMAS`; of a published one also its offsets.

        Raises:
            ChangedError: the rows are gone.
        """
        if not shard.patches:
            return SCHEMAS[shard.kind].empty_table()
        if not shard.source.file.name.startswith(TILES):
            columns = [*SCHEMAS[shard.kind].names, column(shard.kind, "offset")]
            manifest, card = self._manifest
            return tile_rows(manifest, card, shard.tile, columns)
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
        keys = list(keys)
        self._store.delete(_name(key, _DESCRIPTION) for key in keys)
        self._store.delete(_name(key, name) for key in keys for name in (_SHARD, _ROWS))

    def clear(self) -> None:
        """Remove all unpublished shards."""
        self._store.delete([file.name for file in self._store.list(TILES)])
        if self._store.folder is not None:
            rmtree(self._store.folder / TILES, ignore_errors=True)  # folders that a killed run left empty

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
    def _manifest(self) -> tuple[pq.ParquetFile, Card]:
        assert self.published is not None  # noqa: S101 - a shard is in its zips
        path = local_manifest(self.published, self._store, self._scratch)
        return pq.ParquetFile(path), self.published.card


def _shards_of(published: Published) -> dict[tuple[Kind, str], Shard]:
    """Return the shards in the published zips that are intact, by kind and tile; none without a manifest."""
    kinds = [kind for kind in KINDS if {ZIPS[kind], MANIFEST} <= published.intact.keys()]
    shards = {}
    for entry in published.card.tiles:
        rejected = tuple(one for one in published.card.rejected if one.patch_id[:-6] == entry.tile)
        for kind in kinds:
            place = entry.shard(kind)
            source = Range(published.intact[ZIPS[kind]], place.start, place.stop)
            shards[kind, entry.tile] = Shard(
                entry.tile, kind, place.key, source, entry.patches, rejected, None
            )
    return shards


def _name(key: str, name: str) -> str:
    return f"{TILES}{key}/{name}"
