"""Drafts of published datasets, to make their documents again."""

from pathlib import Path

from bigearthnet.dataset import require_published
from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.plan.recipe import KINDS
from bigearthnet.store import FolderStore


def draft_of(destination: Path, scratch: Path) -> Draft:
    """The draft that a dataset in a folder was published from."""
    store = FolderStore(destination)
    published = require_published(store)
    cache = TileCache(store, published, scratch, streams=False)
    tiles: list[FinishedTile] = []
    for entry in published.card.tiles:
        shards = {kind: cache.find(kind, entry.tile, entry.shard(kind).key, "") for kind in KINDS}
        tiles.append({kind: shard for kind, shard in shards.items() if shard is not None})
    return Draft(published.card, destination / "manifest.parquet", tiles, cache)
