"""Finished tiles: shards that a published zip holds, or that a run left in `.tiles/` for the next one.

Below `.tiles/<key>/` are a shard, its rows and, written last, the description of both. `.tiles/verified.json`
lists the marks of a stream that was read to its end and right.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import Final

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from bigearthnet.dataset.layout import MANIFEST, TILES, ZIPS
from bigearthnet.dataset.manifest import SCHEMA
from bigearthnet.dataset.published import Published, local_manifest, tile_rows
from bigearthnet.errors import ChangedError, ChecksumError
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.source.stream import Mark
from bigearthnet.store import Range, Store, StoredFile
from bigearthnet.tile.convert import ConvertedTile, Rejected, rows_file, shard_file
from bigearthnet.tile.rows import SCHEMAS, column, read_rows

_DESCRIPTION: Final = "tile.json"
_SHARD: Final = "members"
_ROWS: Final = "rows.parquet"
_VERIFIED: Final = f"{TILES}verified.json"


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


FinishedTile = Mapping[Kind, Shard]
"""Both shards of a tile. They hold the same patches, and lack the same."""


@dataclass(frozen=True, slots=True)
class _Description:
    patches: int
    rejected: tuple[Rejected, ...]
    mark: Mark | None
    size: int
    rows_size: int


_DESCRIPTIONS = TypeAdapter(_Description)
_MARKS = TypeAdapter(list[Mark])


class TileCache:
    """The finished tiles in a store, which holds `published`; `scratch` takes a copy of the manifest.

    With `streams` the run streams the images, which verifies what earlier streams left in `.tiles/`.
    """

    def __init__(self, store: Store, published: Published | None, scratch: Path, *, streams: bool) -> None:
        self.store = store
        self.published = published
        self.scratch = scratch
        self._streams = streams
        self._in_zips = _shards_in_zips(published)

    def find(self, kind: Kind, tile: str, key: str, digest: str) -> Shard | None:
        """Return the shard of a tile with a key, published or in `.tiles/`.

        Without it, a published one of other patches of the tile, made by a recipe with that digest.
        """
        shard = self._in_zips[kind].get(tile)
        if shard is not None and shard.key == key:
            return shard
        if staged := self._staged_shard(kind, tile, key):
            return staged
        alike = self.published is not None and self.published.card.parameters.digests.get(kind) == digest
        return shard if alike else None

    def keys_in_zip(self, kind: Kind) -> list[str]:
        """Return the keys of the shards in the published zip, in its order; none if it is not intact."""
        return [shard.key for shard in self._in_zips[kind].values()]

    def rows(self, shard: Shard) -> pa.Table:
        """Return the rows of a shard, with the columns of `SCHEMAS`; of a published one also its offsets.

        Raises:
            ChangedError: the rows are gone.
            ChecksumError: the rows are damaged; a tile that is not published will be made again.
        """
        if not shard.patches:
            return SCHEMAS[shard.kind].empty_table()
        if not shard.source.file.name.startswith(TILES):
            assert self.published is not None  # noqa: S101 - a shard is in its zips
            columns = [*SCHEMAS[shard.kind], SCHEMA.field(column(shard.kind, "offset"))]
            return tile_rows(self._manifest, self.published.card, shard.tile, pa.schema(columns))
        name = _name(shard.key, _ROWS)
        data = self.store.read(name)
        if data is None:
            raise ChangedError(f"{self.store.url}/{name} was removed during the run. Run again.")
        try:
            return read_rows(BytesIO(data), SCHEMAS[shard.kind], f"{self.store.url}/{name}", "Run again.")
        except ChecksumError:
            self.store.delete([_name(shard.key, _DESCRIPTION)])  # so that the next run makes the tile again
            raise

    def add(self, kind: Kind, key: str, made: ConvertedTile, mark: Mark | None, folder: Path) -> Shard:
        """Store a shard and its rows from the `folder` they were written to; their description comes last."""
        stored = self.store.upload(folder / shard_file(kind), _name(key, _SHARD))
        rows = self.store.upload(folder / rows_file(kind), _name(key, _ROWS))
        description = _Description(made.patches, made.rejected, mark, stored.size, rows.size)
        self.store.write(_name(key, _DESCRIPTION), _DESCRIPTIONS.dump_json(description))
        return Shard(made.tile, kind, key, Range(stored, 0, stored.size), made.patches, made.rejected, mark)

    def vouch(self, marks: Iterable[Mark]) -> None:
        """Note that shards with these marks are verified, so that the next run can do without the stream."""
        self.store.write(_VERIFIED, _MARKS.dump_json(sorted({*marks, *self._verified})))

    def clear(self) -> None:
        """Remove all unpublished shards."""
        self.store.delete([file.name for file in self.store.list(TILES)])
        if self.store.folder is not None:
            rmtree(self.store.folder / TILES, ignore_errors=True)  # folders that a killed run left empty

    def _staged_shard(self, kind: Kind, tile: str, key: str) -> Shard | None:
        shard, rows, description = (
            self._staged.get(_name(key, name)) for name in (_SHARD, _ROWS, _DESCRIPTION)
        )
        if shard is None or rows is None or description is None:
            return None
        try:
            found = _DESCRIPTIONS.validate_json(self.store.read(description.name) or b"")
        except ValidationError:  # cut off, or by another version
            return None
        mark = None if found.mark in self._verified else found.mark
        unverified = mark is not None and not self._streams
        if unverified or (shard.size, rows.size) != (found.size, found.rows_size):
            return None
        source = Range(shard, 0, shard.size)
        return Shard(tile, kind, key, source, found.patches, found.rejected, mark)

    @cached_property
    def _verified(self) -> frozenset[Mark]:
        if _VERIFIED in self._staged:
            with suppress(ValidationError):  # of another version
                return frozenset(_MARKS.validate_json(self.store.read(_VERIFIED) or b""))
        return frozenset()

    @cached_property
    def _staged(self) -> dict[str, StoredFile]:
        return {file.name: file for file in self.store.list(TILES)}

    @cached_property
    def _manifest(self) -> Path:
        assert self.published is not None  # noqa: S101 - a shard is in its zips
        return local_manifest(self.published, self.store, self.scratch)


def _shards_in_zips(published: Published | None) -> dict[Kind, dict[str, Shard]]:
    """Return the shards in the published zips that are intact, by tile; none without a manifest."""
    shards: dict[Kind, dict[str, Shard]] = {kind: {} for kind in KINDS}
    if published is None or MANIFEST not in published.intact:
        return shards
    rejections = defaultdict[str, list[Rejected]](list)
    for one in published.card.rejected:
        rejections[one.patch_id[:-6]].append(one)
    for entry in published.card.tiles:
        rejected = tuple(rejections[entry.tile])
        for kind in KINDS:
            if zipped := published.intact.get(ZIPS[kind]):
                place = entry.shard(kind)
                source = Range(zipped, place.start, place.stop)
                shard = Shard(entry.tile, kind, place.key, source, entry.patches, rejected, None)
                shards[kind][entry.tile] = shard
    return shards


def _name(key: str, name: str) -> str:
    return f"{TILES}{key}/{name}"
