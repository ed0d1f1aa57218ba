"""Make a tile's shards."""

import os
import time
from dataclasses import dataclass
from typing import Any

from prefect import get_run_logger, task
from prefect.futures import PrefectFuture
from pydantic import ValidationError

from bigearthnet.archive.bundle import Bundles
from bigearthnet.options import Rendering
from bigearthnet.plan.jobs import Done, Job, is_whole, pack, unpack
from bigearthnet.progress import human_bytes
from bigearthnet.source.old.stream import Mark
from bigearthnet.tile.convert import IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, convert_tile
from bigearthnet.work.digests import remember_digest
from bigearthnet.work.workspace import Workspace
from tasks import policy

CONVERTERS = len(os.sched_getaffinity(0))
"""Tiles that are converted side by side: one for each core that this process may use."""
_REJECTED_LOGGED = 10
"""Rejected patches of a tile that get a line in the log; the card has them all."""
WAITING = CONVERTERS + 1 if CONVERTERS > 1 else 1
"""Tiles that may be between extraction and the end of conversion: no converter idles, and no disk fills.

On one core the two take turns: side by side they would gain nothing and cost some 8 % in switching."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """A tile to convert: its job, its bundles, and where the stream stood that they were read from.

    Without bundles it was done before, and is found in the cache.
    """

    job: Job
    bundles: Bundles | None
    mark: Mark | None
    rendering: Rendering


@task(
    name="convert",
    task_run_name="convert {conversion.job.tile.tile}",
    cache_key_fn=lambda _context, parameters: parameters["conversion"].job.key,
    persist_result=True,
    result_serializer="json",
    cache_result_in_memory=False,
)
def convert(conversion: Conversion, workspace: Workspace) -> dict[str, Any]:
    """Convert a tile's bundles, keep what was made, and list it."""
    job, bundles = conversion.job, conversion.bundles
    if bundles is None:
        raise ValueError(f"expected the bundles of {job.tile.tile}, or its result in the cache; run again")
    logger, began = get_run_logger(), time.monotonic()
    folder = workspace.tile(job.key)
    folder.mkdir(parents=True, exist_ok=True)
    made = convert_tile(job.tile, bundles, conversion.rendering, folder)
    files = ((IMAGES_SHARD, made.images), (MASKS_SHARD, made.masks), (ROWS_FILE, made.rows))
    for name, file in files:
        remember_digest(folder / name, file.sha256, workspace.digests)
    bundles.images.unlink()
    bundles.maps.unlink()
    for one in made.rejected[:_REJECTED_LOGGED]:
        logger.warning("%s rejected: %s", one.patch_id, one.reason)
    if len(made.rejected) > _REJECTED_LOGGED:
        logger.warning("%s: %s more rejected", made.tile, f"{len(made.rejected) - _REJECTED_LOGGED:,}")
    logger.info(
        "%s: %s patches, %s rejected, %s of images, %.1f s",
        *(made.tile, f"{made.patches:,}", len(made.rejected), human_bytes(made.images.size)),
        time.monotonic() - began,
    )
    return pack(Done(made, conversion.mark))


def done_before(job: Job, workspace: Workspace) -> Done | None:
    """What an earlier run made of the tile, if all of it is still there."""
    packed = policy.recall(job.key, workspace)
    if packed is None:
        return None
    try:
        done = unpack(packed)
    except ValidationError:  # kept by another edition of this project
        return None
    return done if is_whole(done.made, job.key, workspace) else None


def submit(conversion: Conversion, workspace: Workspace) -> PrefectFuture[dict[str, Any]]:
    """Have a tile converted; with bundles, what is in the cache is out of date."""
    configured = convert.with_options(
        result_storage=workspace.results, refresh_cache=conversion.bundles is not None
    )
    return configured.submit(conversion, workspace)
