"""Download the small files, list what the record holds, and plan the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from prefect import get_run_logger, task

from bigearthnet.archive import ArchiveReader, Index, decompress, index_archive
from bigearthnet.dataset import find_published
from bigearthnet.dataset.freshness import option_changes
from bigearthnet.dataset.jobs import Job, needs_images
from bigearthnet.dataset.tiles import TileCache
from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE, MAPS_ROOT, METADATA_FILES
from bigearthnet.options import Rendering, Selection, Transfer
from bigearthnet.plan import (
    Metadata,
    Plan,
    Recipe,
    RecordUsed,
    SourceFile,
    describe_needs,
    estimate,
    plan_tiles,
    read_metadata,
    require_room,
)
from bigearthnet.source import LocalFile, Record, RecordFile, Source, bytes_to_download
from bigearthnet.store import Store
from bigearthnet.work.space import require_space
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.connect import Opened
from tasks.convert import WAITING
from tasks.download import download
from tasks.heartbeat import still_running


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What is known before anything large is downloaded or converted.

    Attributes:
        images: the images' archive.
        local_images: the same on this machine, if it is there already.
        maps: the reference maps' archive.
        streams: the images' archive is read over the network, without being kept.
        metadata: the record's metadata, None without its files.
        plan: the tiles to make.
        recipe: what the dataset is made of.
    """

    images: RecordFile
    local_images: LocalFile | None
    maps: LocalFile
    streams: bool
    metadata: Metadata | None
    plan: Plan
    recipe: Recipe


def survey(
    record: Record,
    source: Source,
    selection: Selection,
    rendering: Rendering,
    transfer: Transfer,
    work: Workspace,
) -> Survey:
    """Download the small files, list tiles and patches, and plan what to make of them.

    The reference maps are kept in any case: their archive has the same patches as the images', at 0.4 % of
    the size, so that the plan is made from it. Images without a stated md5 are kept, too: nothing could
    verify a stream of them.
    """
    images, maps_file = record.require(IMAGES_ARCHIVE), record.require(MAPS_ARCHIVE)
    tables = [file for name in METADATA_FILES if (file := record.file(name)) is not None]
    streams = transfer == "stream" and source.folder is None and images.md5 is not None
    kept = [maps_file, *tables, *([] if streams else [images])]
    needed = sum(bytes_to_download(source, file, work) for file in kept)
    require_space(work.root, needed, "the record's files", "or use transfer: stream")
    maps = download(maps_file, source, work)
    local_tables = [download(file, source, work) for file in tables]
    metadata = read_metadata([table.path for table in local_tables]) if local_tables else None
    plan = plan_tiles(index(maps, work), metadata, selection)
    local = download(images, source, work) if images.md5 is None else None
    verified = images.verification(complete=not streams or plan.reads_to_the_end)
    md5 = local.md5 if local is not None else str(images.md5)
    used = SourceFile(name=images.name, size=images.size, md5=md5, verification=verified)
    files = (used, *(_used(file) for file in (maps, *local_tables)))
    source_used = RecordUsed(
        kind=record.kind, record=record.record_id, version=record.version, title=record.title, files=files
    )
    return Survey(images, local, maps, streams, metadata, plan, Recipe(source_used, selection, rendering))


@task(name="index", task_run_name="index {maps.name}", **policy.CACHED)
def _index(maps: LocalFile, key: str) -> dict[str, str]:  # noqa: ARG001 - the key of the cached result
    """List tiles and patches of the reference maps' archive."""
    with still_running(f"listing {maps.name}"):
        found = index_archive(ArchiveReader(decompress(maps.open()), MAPS_ROOT, maps.name))
    patches = sum(len(cells) for cells in found.values())
    get_run_logger().info("%s: %s patches in %s tiles", maps.name, f"{patches:,}", len(found))
    return {tile: cells.astype("<u2").tobytes().hex() for tile, cells in found.items()}


def index(maps: LocalFile, work: Workspace) -> Index:
    """List tiles and cells of the reference maps' archive; read once for each md5."""
    key = f"index-{maps.md5}"
    configured = _index.with_options(
        result_storage=work.results, refresh_cache=not policy.has_json_result(key, work.results)
    )
    listing: dict[str, Any] = configured(maps, key)
    return {tile: np.frombuffer(bytes.fromhex(cells), "<u2") for tile, cells in listing.items()}


def find_finished(known: Survey, store: Store, work: Workspace) -> TileCache:
    """Find out what a published dataset and interrupted runs left in the destination."""
    with still_running(f"checking the files in {store.url}"):
        published = find_published(store)
    if published is not None:
        published = published.verified_as(known.recipe.source)
    return TileCache(store, published, work.staging, streams=known.streams)


def announce(known: Survey, jobs: Sequence[Job], cache: TileCache, opened: Opened) -> None:
    """Log what the run will do, and check that there is room for it."""
    missing = [len(job.plan.cells) for job in jobs if job.tile is None]
    fetches = any(needs_images(job, cache) for job in jobs)
    to_fetch = bytes_to_download(opened.source, known.images, opened.work) if fetches else 0
    folder, local = opened.store.folder, opened.store.folder is not None
    needed = estimate(
        missing, known.plan.patches, to_fetch, streams=known.streams, waiting=WAITING, local=local
    )
    logger = get_run_logger()
    if cache.published is not None:
        for change in option_changes(cache.published.card, known.recipe.selection, known.recipe.rendering):
            logger.info("the published dataset will change: %s", change)
    logger.info(
        "%s patches of %s tiles (%s finished before) into %s: %s",
        *(f"{known.plan.patches:,}", len(jobs), len(jobs) - len(missing), opened.store.url),
        describe_needs(needed, opened.work.root, folder, streams=known.streams),
    )
    require_room(needed, opened.work.root, folder)


def _used(local: LocalFile) -> SourceFile:
    return SourceFile(name=local.name, size=local.size, md5=local.md5, verification=local.verification)
