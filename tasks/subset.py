"""Choose patches of a published dataset, and copy them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from prefect import get_run_logger, task

from bigearthnet.dataset import Published, find_published
from bigearthnet.dataset.choice import choose_patches
from bigearthnet.dataset.jobs import Job, plan_jobs
from bigearthnet.dataset.members import Original, copy_members, subset_recipe
from bigearthnet.dataset.publish import Publication, ZipDigest, zip_digests
from bigearthnet.dataset.published import local_manifest
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.options import Packaging, Rendering, SubsetMasks, SubsetSelection
from bigearthnet.plan.metadata import Metadata
from bigearthnet.plan.recipe import Kind, Recipe
from bigearthnet.plan.selection import Plan
from bigearthnet.progress import Tally, counted
from bigearthnet.store import Store
from bigearthnet.tile import ConvertedTile
from bigearthnet.work import space
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.convert import store_tile
from tasks.heartbeat import still_running


@dataclass(frozen=True, slots=True, eq=False)
class SubsetPlan:
    """What a run has to copy, from where, and what it publishes."""

    original: Original
    recipe: Recipe
    plan: Plan
    metadata: Metadata
    cache: TileCache  # the finished tiles in the destination
    jobs: Sequence[Job]
    digests: Mapping[Kind, ZipDigest]  # of the zips that are put together anew

    def publication(self, tiles: Sequence[FinishedTile]) -> Publication:
        """What is to be published when the tiles are copied."""
        return Publication(self.recipe, self.plan.patches, tiles, self.digests, self.metadata)


@task(name="choose", task_run_name="choose patches of {source.url}", **policy.TRANSFER)
def choose(
    published: Published,
    source: Store,
    selection: SubsetSelection,
    masks: SubsetMasks,
    packaging: Packaging,
    store: Store,
    work: Workspace,
) -> SubsetPlan:
    """Choose patches, and find out which tiles an earlier run left in the destination."""
    recipe = subset_recipe(published, selection, masks, packaging)
    with still_running(f"reading the manifest of {source.url}"):
        manifest = local_manifest(published, source, work.bundles)
        plan, metadata = choose_patches(pq.ParquetFile(manifest), published.card, selection)
    with still_running(f"checking the files in {store.url}"):
        cache = TileCache(store, find_published(store), work.staging, streams=False)
    jobs = plan_jobs(plan, recipe, cache)
    missing = [len(job.plan.cells) for job in jobs if job.missing]
    get_run_logger().info(
        "%s of %s (%s finished before) of %s into %s",
        *(counted(plan.patches, "patch"), counted(len(jobs), "tile")),
        *(len(jobs) - len(missing), source.url, store.url),
    )
    room = space.estimate_room(missing, plan.patches, 0, work.root, store.folder, waiting=0)
    space.require_room(room, "or select fewer patches")
    original = Original(source, published, manifest)
    return SubsetPlan(original, recipe, plan, metadata, cache, jobs, zip_digests(jobs, cache))


def copy_tiles(todo: SubsetPlan, work: Workspace) -> list[FinishedTile]:
    """Copy what is not finished, a tile after another."""
    tiles, tally = list[FinishedTile](), Tally(len(todo.jobs), todo.plan.patches, time.monotonic)
    for job in todo.jobs:
        folder = work.tiles / job.plan.tile
        copied = copy_tile(job, todo.original, todo.recipe.rendering, folder) if job.missing else None
        tiles.append(store_tile(job, copied, None, folder, todo.cache, todo.digests))
        line = tally.advance(len(job.plan.cells), is_new=copied is not None)
        if copied is not None:
            get_run_logger().info(line)
    return tiles


@task(name="copy tile", task_run_name="copy {job.plan.tile}", **policy.TRANSFER)
def copy_tile(job: Job, original: Original, rendering: Rendering, folder: Path) -> ConvertedTile:
    """Copy the chosen patches of a tile to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with still_running(f"copying {job.plan.tile}"):
        return copy_members(job, original, rendering, folder)
