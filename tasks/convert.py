"""Extract a tile from the archives, convert it, and store what was made of it."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Final

from prefect import get_run_logger, task

from bigearthnet.archive.bundle import Bundles, Extractor, TileRequest
from bigearthnet.dataset.jobs import Job
from bigearthnet.dataset.publish import ZipDigest
from bigearthnet.dataset.tiles import FinishedTile, Shard, TileCache
from bigearthnet.options import Rendering
from bigearthnet.plan.recipe import Kind
from bigearthnet.progress import counted
from bigearthnet.source.stream import Mark
from bigearthnet.tile import Conversion, ConvertedTile, convert_tile, shard_file
from tasks import policy
from tasks.heartbeat import still_running

CONVERTERS: Final = len(os.sched_getaffinity(0))
"""Tiles that are converted at a time: one for each core."""
WAITING: Final = CONVERTERS + 1 if CONVERTERS > 1 else 1
"""Tiles between extraction and the end of conversion, so that no core idles and the disk does not fill.

On one core extraction and conversion take turns: side by side they would only cost 8 % more."""
_REJECTED_LOGGED: Final = 10


@task(name="extract", task_run_name="extract {request.tile}", retries=0, persist_result=False)
def extract(extractor: Extractor, request: TileRequest, folder: Path) -> Bundles:
    """Write a tile's bundles, reading on from the end of the last tile.

    No retries, whatever is set for Prefect: a second try would read on behind what the first one took. Over
    the network a stream goes on by itself.
    """
    with still_running(f"reading the archives up to {request.tile}"):
        return extractor.extract(request, folder)


@task(name="convert", task_run_name="convert {conversion.tile}", persist_result=False)
def convert(conversion: Conversion, bundles: Bundles, rendering: Rendering, folder: Path) -> ConvertedTile:
    """Convert a tile's bundles to shards and rows in `folder`."""
    logger, began = get_run_logger(), time.monotonic()
    with still_running(f"converting {conversion.tile}"):
        converted = convert_tile(conversion, bundles, rendering, folder)
    bundles.remove()
    for one in converted.rejected[:_REJECTED_LOGGED]:
        logger.warning("%s rejected: %s", one.patch_id, one.reason)
    if (more := len(converted.rejected) - _REJECTED_LOGGED) > 0:
        logger.warning("%s: %s more patches rejected", converted.tile, f"{more:,}")
    done = counted(converted.patches, "patch")
    logger.info("%s: %s, %.1f s", converted.tile, done, time.monotonic() - began)
    return converted


@task(name="upload", task_run_name="upload {kind} of {converted.tile}", **policy.TRANSFER)
def upload(
    cache: TileCache, kind: Kind, key: str, converted: ConvertedTile, mark: Mark | None, folder: Path
) -> Shard:
    """Store a shard that was converted into `folder`; a bucket is sent it."""
    with still_running(f"uploading {kind} of {converted.tile}"):
        return cache.add(kind, key, converted, mark, folder)


def store_tile(
    job: Job,
    made: ConvertedTile | None,
    mark: Mark | None,
    folder: Path,
    cache: TileCache,
    digests: Mapping[Kind, ZipDigest],
) -> FinishedTile:
    """Store what was made of a tile in `folder`, which is removed; add its shards to the zips' digests."""
    tile, store = dict(job.finished), cache.store
    if made is not None:
        add = upload if store.folder is None else upload.fn
        for kind in job.missing:
            tile[kind] = add(cache, kind, job.keys[kind], made, mark, folder)
    with still_running(f"reading back {job.plan.tile}"):
        for kind, digest in digests.items():
            digest.add(folder / shard_file(kind) if kind in job.missing else tile[kind].source, store)
    rmtree(folder, ignore_errors=True)
    return tile
