"""The tiles of a run: which of their shards are finished, and what is left to extract and convert."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BufferedReader
from typing import Any, Final

from bigearthnet.archive.bundle import TileRequest
from bigearthnet.dataset.bundles import BundleCache, StoredBundle
from bigearthnet.dataset.tiles import FinishedTile, Shard, TileCache
from bigearthnet.plan.recipe import KINDS, Kind, Recipe
from bigearthnet.plan.selection import Plan, TilePlan
from bigearthnet.source.stream import Mark
from bigearthnet.store import Store
from bigearthnet.tile.convert import Conversion, Held
from bigearthnet.tile.rows import column

_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A tile of a run."""

    plan: TilePlan
    last: bool  # the archives' last tile, so that they are to be read to their ends
    keys: Mapping[Kind, str]
    shards: Mapping[Kind, Shard]  # with these keys, or published ones of other patches of the tile
    bundles: Mapping[Kind, StoredBundle] = field(default_factory=dict)  # of kinds that have to be made

    @property
    def finished(self) -> dict[Kind, Shard]:
        """The shards that need not be made."""
        return {kind: shard for kind, shard in self.shards.items() if shard.key == self.keys[kind]}

    @property
    def marks(self) -> list[Mark]:
        """Positions in the stream that shards and bundles were made from: also masks lack bad images."""
        marks = [shard.mark for shard in self.finished.values()]
        marks += [bundle.mark for bundle in self.bundles.values()]
        return [mark for mark in marks if mark is not None]

    @property
    def missing(self) -> tuple[Kind, ...]:
        """The kinds that have to be made."""
        return tuple(kind for kind in KINDS if kind not in self.finished)


def plan_jobs(plan: Plan, recipe: Recipe, cache: TileCache, bundles: BundleCache | None = None) -> list[Job]:
    """Return a job for each tile of a plan, in the order of the archives."""
    jobs, digests = [], {kind: recipe.digest(kind) for kind in KINDS}
    for tile in plan.tiles:
        keys = {kind: recipe.key(kind, tile) for kind in KINDS}
        found = {kind: cache.find(kind, tile.tile, keys[kind], digests[kind]) for kind in KINDS}
        shards = {kind: shard for kind, shard in found.items() if shard is not None}
        last = plan.reads_to_the_end and tile is plan.tiles[-1]
        job = Job(tile, last, keys, shards)
        stored = {} if bundles is None else bundles.find(tile)
        jobs.append(replace(job, bundles={kind: one for kind, one in stored.items() if kind in job.missing}))
    return jobs


def plan_tile(job: Job, cache: TileCache) -> tuple[TileRequest, Conversion]:
    """Decide what to extract and what to convert of a tile, beside what is finished or held."""
    wanted = set(job.plan.patch_ids)
    rejected: dict[str, str] = {}
    held: dict[Kind, Held] = {}
    for kind, shard in job.shards.items():
        rows = cache.rows(shard).to_pylist()
        held[kind] = Held({row["patch_id"]: row for row in rows}, _reader(shard, cache.store))
        rejected |= {one.patch_id: one.reason for one in shard.rejected if one.patch_id in wanted}
    missing: dict[Kind, list[str]] = {
        kind: [
            patch_id
            for patch_id in job.plan.patch_ids
            if patch_id not in rejected and (kind not in held or patch_id not in held[kind].rows)
        ]
        for kind in KINDS
    }
    conversion = Conversion(job.plan.tile, job.plan.patch_ids, job.missing, held, rejected)
    return _request(job, missing["images"], missing["masks"]), conversion


def plan_whole_tile(job: Job) -> tuple[TileRequest, Conversion]:
    """Decide the same, with bundles of all patches of the tile: nothing is read of a published dataset.

    Any machine decides the same. Equal keys mean equal bytes, so that it does not matter whether PNGs that a
    published zip holds are copied from it or made again.
    """
    patch_ids = job.plan.patch_ids
    known_bad = {one.patch_id: one.reason for shard in job.finished.values() for one in shard.rejected}
    rejected = {patch_id: known_bad[patch_id] for patch_id in patch_ids if patch_id in known_bad}
    there: dict[str, dict[str, Any]] = {one: {} for one in patch_ids if one not in rejected}
    held: dict[Kind, Held] = {kind: Held(there, _not_read) for kind in job.finished}
    conversion = Conversion(job.plan.tile, patch_ids, job.missing, held, rejected)
    return _request(job, patch_ids, patch_ids), conversion


def starts_from_bundles(job: Job, cache: TileCache, *, stores: bool) -> bool:
    """Return True if a tile is made of bundles in the store: some are there, or (`stores`) are put there.

    A tile that is copied from published zips, without the archive, needs none.
    """
    has_some = any(kind in job.shards for kind in job.missing)
    return bool(job.bundles) or (stores and (needs_images(job, cache) or not has_some))


def needs_images(job: Job, cache: TileCache) -> bool:
    """Return True if the images' archive has to be read for the tile.

    It has to for images that no published zip and no stored bundle holds, and for a whole tile to find
    unknown patches.
    """
    if "images" not in job.missing or "images" in job.bundles:
        return False
    shard = job.shards.get("images")
    if shard is None or job.plan.whole:
        return True
    there = [*cache.rows(shard).column("patch_id").to_pylist(), *(one.patch_id for one in shard.rejected)]
    return not set(there).issuperset(job.plan.patch_ids)


def converted_patches(jobs: Sequence[Job], tiles: Sequence[FinishedTile]) -> int:
    """Return the number of patches in the tiles that were not finished before."""
    return sum(tile["images"].patches for job, tile in zip(jobs, tiles, strict=True) if job.missing)


def _request(job: Job, images: Sequence[str], masks: Sequence[str]) -> TileRequest:
    """Ask for the patches of a tile; for none of a kind whose bundle is in the store."""
    plan, missing = job.plan, [kind for kind in job.missing if kind not in job.bundles]
    known = plan.known if plan.whole and "images" in missing else None
    images, maps = images if "images" in missing else [], masks if "masks" in missing else []
    return TileRequest(plan.tile, images, maps, known, complete=plan.is_complete, last=job.last)


def _not_read(row: Mapping[str, Any]) -> bytes:
    raise AssertionError(f"{row} is of a finished shard, which is not written again")


def _reader(shard: Shard, store: Store) -> Callable[[Mapping[str, Any]], bytes]:
    """Return what reads the PNGs of a published shard by their rows, in ascending order, in one request."""
    place, offset, size = shard.source, column(shard.kind, "offset"), column(shard.kind, "size")
    reader, position = BufferedReader(store.open(place.file, place.start, place.stop)), place.start

    def read(row: Mapping[str, Any]) -> bytes:
        nonlocal position
        while position < row[offset] and (skipped := reader.read(min(row[offset] - position, _BLOCK_BYTES))):
            position += len(skipped)
        png = reader.read(row[size])
        position += len(png)
        return png

    return read
