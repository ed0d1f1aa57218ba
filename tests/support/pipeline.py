"""Prepare datasets in a folder as the flow does, but without Prefect: real archives, a real store."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from bigearthnet.archive.bundle import Extractor, TileRequest, index_archive
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.dataset import Card, find_published
from bigearthnet.dataset.jobs import needs_images, plan_jobs, plan_tile
from bigearthnet.dataset.publish import Publication, publish, zip_digests
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.names import (
    IMAGES_ARCHIVE,
    IMAGES_ROOT,
    MAPS_ARCHIVE,
    MAPS_ROOT,
    METADATA_FILES,
    RGB_BANDS,
    Root,
)
from bigearthnet.options import Packaging, Rendering, Selection
from bigearthnet.plan.metadata import read_metadata
from bigearthnet.plan.recipe import Recipe, RecordUsed
from bigearthnet.plan.selection import plan_tiles
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.stream import Mark
from bigearthnet.store import FolderStore
from bigearthnet.tile import convert_tile, shard_file

RENDERING = Rendering(mask_classes="ben19")


@dataclass(frozen=True)
class Prepared:
    """The card, and what was read of the archives: a request for each tile that was not finished."""

    card: Card
    requests: Mapping[str, TileRequest]


def contents(destination: Path) -> dict[str, str]:
    """SHA-256 of each file of a dataset, also of unpublished tiles."""
    names = [file.name for file in FolderStore(destination).list()]
    return {name: hashlib.sha256((destination / name).read_bytes()).hexdigest() for name in names}


def used(record: Path) -> RecordUsed:
    """All files of a record."""
    md5s = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in record.iterdir()}  # noqa: S324
    files = [file.used(md5s[file.name]) for file in StoredSource(FolderStore(record)).record().files]
    return RecordUsed(kind="folder", record="", version="", title="a record", files=tuple(files))


def prepare(
    record: Path,
    destination: Path,
    on_tile: Callable[[FinishedTile], object] = lambda _: None,
    *,
    rendering: Mapping[str, Any] = {},
    packaging: Mapping[str, Any] = {},
    **selection: Any,
) -> Prepared:
    """Prepare a dataset; `on_tile` is called with each tile, and can end the run by an exception."""
    store, scratch = FolderStore(destination), destination.with_name(f"{destination.name}-scratch")
    requests, tiles = dict[str, TileRequest](), list[FinishedTile]()
    rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    with ExitStack() as stack:

        def opened(name: str, root: Root) -> ArchiveReader:
            return ArchiveReader(decompress(stack.enter_context((record / name).open("rb"))), root, name)

        lock = stack.enter_context(store.lock("a test"))
        options = RENDERING.model_copy(update=dict(rendering))
        recipe = Recipe(used(record), Selection(**selection), options, Packaging(**packaging))
        metadata = read_metadata([record / name for name in METADATA_FILES])
        index = index_archive(opened(MAPS_ARCHIVE, MAPS_ROOT))
        plan = plan_tiles(index, metadata, recipe.selection)
        archives = opened(IMAGES_ARCHIVE, IMAGES_ROOT), opened(MAPS_ARCHIVE, MAPS_ROOT)
        extractor = Extractor(*archives, RGB_BANDS[options.bands])
        cache = TileCache(store, find_published(store), scratch, streams=True)
        jobs = plan_jobs(plan, recipe, cache)
        digests = zip_digests(jobs, cache)
        for job in jobs:
            shards, folder = dict(job.finished), scratch / job.plan.tile
            if job.missing:
                request, conversion = plan_tile(job, cache)
                requests[job.plan.tile] = request
                folder.mkdir()
                bundles = extractor.extract(request, scratch)
                assert bundles.images is None or needs_images(job, cache)
                made = convert_tile(conversion, bundles, recipe.rendering, folder)
                read = [Mark(7, job.plan.tile)] if bundles.images is not None else []  # as of a stream
                mark = max([*job.marks, *read], default=None)
                shards |= {kind: cache.add(kind, job.keys[kind], made, mark, folder) for kind in job.missing}
            for kind, digest in digests.items():
                made_now = kind in job.missing
                digest.add(folder / shard_file(kind) if made_now else shards[kind].source, store)
            tiles.append(shards)
            on_tile(tiles[-1])
        what = Publication(recipe, plan.patches, tiles, digests, metadata)
        return Prepared(publish(what, cache, lock), requests)
