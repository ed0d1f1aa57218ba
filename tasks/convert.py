"""Make a tile's shards."""

import os
import time
from typing import Any

from prefect import get_run_logger, task
from prefect.futures import PrefectFuture

from bigearthnet.bundle import Bundles
from bigearthnet.convert import IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, MadeTile, convert_tile
from bigearthnet.digests import remember_digest
from bigearthnet.jobs import Job, is_whole, pack, unpack
from bigearthnet.parameters import Rendering
from bigearthnet.progress import human_bytes
from bigearthnet.workspace import Workspace
from tasks import policy

CONVERTERS = len(os.sched_getaffinity(0))
"""Tiles that are converted side by side: one for each core that this process may use."""
WAITING = CONVERTERS + 1
"""Tiles that may be between extraction and the end of conversion: no converter idles, and no disk fills."""


@task(
    name="convert",
    task_run_name="convert {job.tile.tile}",
    cache_key_fn=lambda _context, parameters: parameters["job"].key,
    persist_result=True,
    result_serializer="json",
    cache_result_in_memory=False,
)
def convert(job: Job, bundles: Bundles | None, rendering: Rendering, workspace: Workspace) -> dict[str, Any]:
    """Convert a tile's bundles, or find that it was done before: then there are none."""
    if bundles is None:
        raise ValueError(f"expected the bundles of {job.tile.tile}, or its result in the cache; run again")
    logger, began = get_run_logger(), time.monotonic()
    folder = workspace.tile(job.key)
    folder.mkdir(parents=True, exist_ok=True)
    made = convert_tile(job.tile, bundles, rendering, folder)
    files = ((IMAGES_SHARD, made.images), (MASKS_SHARD, made.masks), (ROWS_FILE, made.rows))
    for name, file in files:
        remember_digest(folder / name, file.sha256, workspace.digests)
    bundles.images.unlink()
    bundles.maps.unlink()
    for one in made.rejected:
        logger.warning("%s rejected: %s", one.patch_id, one.reason)
    logger.info(
        "%s: %s patches, %s rejected, %s of images, %.1f s",
        *(made.tile, f"{made.patches:,}", len(made.rejected), human_bytes(made.images.size)),
        time.monotonic() - began,
    )
    return pack(made)


def made_before(job: Job, workspace: Workspace) -> MadeTile | None:
    """What an earlier run made of the tile, if all of it is still there."""
    packed = policy.recall(job.key, workspace)
    if packed is None:
        return None
    made = unpack(packed)
    return made if is_whole(made, job.key, workspace) else None


def submit(
    job: Job, bundles: Bundles | None, rendering: Rendering, workspace: Workspace
) -> PrefectFuture[dict[str, Any]]:
    """Have a tile converted; without bundles it is in the cache, with bundles the cache is out of date."""
    configured = convert.with_options(result_storage=workspace.results, refresh_cache=bundles is not None)
    return configured.submit(job, bundles, rendering, workspace)
