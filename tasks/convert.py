"""Extract a tile from the archives, convert it, and store what was made of it."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from socket import gethostname
from tempfile import TemporaryDirectory
from typing import Final

from prefect import get_run_logger, task

from bigearthnet.archive.bundle import Bundles, Extractor, TileRequest
from bigearthnet.dataset.bundles import BundleCache, StoredBundle, fetch
from bigearthnet.dataset.jobs import Job, plan_whole_tile
from bigearthnet.dataset.publish import ZipDigest
from bigearthnet.dataset.tiles import FinishedTile, Shard, TileCache
from bigearthnet.errors import InstallationError
from bigearthnet.options import Rendering
from bigearthnet.plan.recipe import Kind, Recipe
from bigearthnet.progress import counted
from bigearthnet.source.stream import Mark
from bigearthnet.store import Store
from bigearthnet.tile import Conversion, ConvertedTile, convert_tile, shard_file
from bigearthnet.tile.selftest import check_installation
from tasks import policy
from tasks.connect import open_store
from tasks.heartbeat import still_running

CONVERTERS: Final = len(os.sched_getaffinity(0))
"""Tiles that are converted at a time: one for each core."""
WAITING: Final = CONVERTERS + 1 if CONVERTERS > 1 else 1
"""Tiles between extraction and the end of conversion, so that no core idles and the disk does not fill.

On one core extraction and conversion take turns: side by side they would only cost 8 % more."""
_REJECTED_LOGGED: Final = 10


@task(name="extract", task_run_name="extract {request.tile}", retries=0, persist_result=False)
def extract(extractor: Extractor, request: TileRequest, folder: Path, *, packed: bool) -> Bundles:
    """Write a tile's bundles, compressed if `packed`, reading on from the end of the last tile.

    No retries, whatever is set for Prefect: a second try would read on behind what the first one took. Over
    the network a stream goes on by itself.
    """
    with still_running(f"reading the archives up to {request.tile}"):
        return extractor.extract(request, folder, packed=packed)


@task(name="upload", task_run_name="upload bundles of {job.plan.tile}", **policy.TRANSFER)
def upload_bundles(
    cache: BundleCache, job: Job, bundles: Bundles, mark: Mark | None
) -> Mapping[Kind, StoredBundle]:
    """Store the compressed bundles of a tile; a bucket is sent them."""
    with still_running(f"uploading bundles of {job.plan.tile}"):
        return cache.add(job.plan, bundles, mark)


@task(name="convert", task_run_name="convert {conversion.tile}", persist_result=False)
def convert(
    conversion: Conversion,
    extracted: Bundles,
    stored: Mapping[Kind, StoredBundle],
    store: Store,
    rendering: Rendering,
    folder: Path,
) -> ConvertedTile:
    """Convert a tile's bundles, just extracted or stored, to shards and rows in `folder`."""
    logger, began = get_run_logger(), time.monotonic()
    with still_running(f"converting {conversion.tile}"):
        bundles = fetch(stored, store, folder.parent, extracted)
        converted = convert_tile(conversion, bundles, rendering, folder)
    bundles.remove()
    for one in converted.rejected[:_REJECTED_LOGGED]:
        logger.warning("%s rejected: %s", one.patch_id, one.reason)
    if (more := len(converted.rejected) - _REJECTED_LOGGED) > 0:
        logger.warning("%s: %s more patches rejected", converted.tile, f"{more:,}")
    done = counted(converted.patches, "patch")
    logger.info("%s: %s, %.1f s", converted.tile, done, time.monotonic() - began)
    return converted


@task(name="convert", task_run_name="convert {job.plan.tile}", **policy.TRANSFER)
def convert_on_worker(
    job: Job,
    stored: Mapping[Kind, StoredBundle],
    mark: Mark | None,
    recipe: Recipe,
    destination: str,
    aws_credentials: str,
) -> FinishedTile:
    """Convert stored bundles on a worker of a cluster, and store the shards: only their list is returned.

    The worker opens the destination itself, by the block or, without one, by what boto3 finds there.

    Raises:
        InstallationError: it would make other bytes than the run's machine.
    """
    from distributed import get_worker  # noqa: PLC0415 - an extra

    if {kind: recipe.key(kind, job.plan) for kind in job.keys} != job.keys:
        raise InstallationError(
            f"the worker on {gethostname()} has other versions of this project or of zlib-ng than the run. "
            "Install the same uv.lock on all machines."
        )
    check_installation()
    store = open_store(destination, aws_credentials)
    with TemporaryDirectory(dir=get_worker().local_directory) as scratch:
        folder, nothing = Path(scratch) / "tile", Bundles(None, None, ())
        _, conversion = plan_whole_tile(job)
        made = convert.fn(conversion, nothing, stored, store, recipe.rendering, folder)
        cache = TileCache(store, None, folder, streams=True)
        shards = {kind: upload.fn(cache, kind, job.keys[kind], made, mark, folder) for kind in job.missing}
    return {**job.finished, **shards}


@task(name="upload", task_run_name="upload {kind} of {converted.tile}", **policy.TRANSFER)
def upload(
    cache: TileCache, kind: Kind, key: str, converted: ConvertedTile, mark: Mark | None, folder: Path
) -> Shard:
    """Store a shard that was converted into `folder`; a bucket is sent it."""
    with still_running(f"uploading {kind} of {converted.tile}"):
        return cache.add(kind, key, converted, mark, folder)


def store_tile(
    job: Job,
    made: ConvertedTile | FinishedTile | None,
    mark: Mark | None,
    folder: Path,
    cache: TileCache,
    digests: Mapping[Kind, ZipDigest],
) -> FinishedTile:
    """Store what was made of a tile in `folder`, which is removed; add its shards to the zips' digests.

    What a worker of a cluster made is in the store, and is read back for the digests.
    """
    tile, store = dict(job.finished), cache.store
    if isinstance(made, ConvertedTile):
        add = upload if store.folder is None else upload.fn
        for kind in job.missing:
            tile[kind] = add(cache, kind, job.keys[kind], made, mark, folder)
    elif made is not None:
        tile |= made
    with still_running(f"reading back {job.plan.tile}"):
        for kind, digest in digests.items():
            local = folder / shard_file(kind)
            digest.add(local if local.exists() else tile[kind].source, store)
    rmtree(folder, ignore_errors=True)
    return tile
