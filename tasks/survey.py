"""Download the small files, list what the record holds, and find out what is left to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from prefect import get_run_logger, task

from bigearthnet.archive.bundle import Index, index_archive
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.dataset import find_published
from bigearthnet.dataset.bundles import BundleCache
from bigearthnet.dataset.freshness import option_changes
from bigearthnet.dataset.jobs import Job, needs_images, plan_jobs
from bigearthnet.dataset.publish import Publication, ZipDigest, zip_digests
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE, MAPS_ROOT, METADATA_FILES
from bigearthnet.options import Packaging, Rendering, Selection, Transfer
from bigearthnet.plan.metadata import Metadata, read_metadata
from bigearthnet.plan.recipe import Kind, Recipe, RecordUsed
from bigearthnet.plan.selection import Plan, plan_tiles
from bigearthnet.progress import counted
from bigearthnet.source.local import LocalFile, bytes_to_download, is_stored, is_streamed
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.work import space
from tasks.connect import Opened
from tasks.convert import WAITING
from tasks.heartbeat import still_running
from tasks.record import download


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What is known before anything large is downloaded or converted."""

    opened: Opened
    images: RecordFile  # the images' archive
    maps: LocalFile  # the reference maps' archive
    streams: bool  # the images' archive is verified while it is read
    stores: bool  # it comes into the work folder
    metadata: Metadata | None  # None without the record's metadata files
    plan: Plan  # the tiles to make
    recipe: Recipe  # what the dataset is made of

    @property
    def reads_all(self) -> bool:
        """True if a stream is read to its end, where it is verified."""
        return self.stores or self.plan.reads_to_the_end


@dataclass(frozen=True, eq=False)
class Todo:
    """What a run has to do."""

    known: Survey
    cache: TileCache  # the finished tiles in the destination
    bundles: BundleCache  # the bundles there
    jobs: Sequence[Job]  # one for each tile, in the order of the archives
    digests: Mapping[Kind, ZipDigest]  # of the zips that are put together anew; shards are added in order

    @cached_property
    def reads_images(self) -> bool:
        """True if the images' archive is read: to make images, or to verify what earlier runs have made."""
        unverified = any(job.marks for job in self.jobs) and self.known.reads_all
        return unverified or any(needs_images(job, self.cache) for job in self.jobs)

    def publication(self, tiles: Sequence[FinishedTile]) -> Publication:
        """What is to be published when the tiles are made."""
        known = self.known
        return Publication(known.recipe, known.plan.patches, tiles, self.digests, known.metadata)


def survey(
    record: Record,
    opened: Opened,
    selection: Selection,
    rendering: Rendering,
    packaging: Packaging,
    transfer: Transfer,
) -> Survey:
    """Download the small files, list tiles and patches, and plan what to make of them.

    The reference maps are kept in any case: their archive has the same patches as the images', at 0.4 % of
    the size, so that the plan is made from it.
    """
    source, fetch = (
        opened.source,
        partial(download, source=opened.source, work=opened.work, connections=opened.connections),
    )
    images, maps_file = record.require(IMAGES_ARCHIVE), record.require(MAPS_ARCHIVE)
    tables = [file for file in record.files if file.name in METADATA_FILES]
    maps = fetch(maps_file)
    local_tables = [fetch(file) for file in tables]
    metadata = read_metadata([table.path for table in local_tables]) if local_tables else None
    planned = plan_tiles(index(maps), metadata, selection)
    stores = is_stored(images, source, transfer)
    images_md5 = images.md5 or fetch(images).file.md5
    streams = is_streamed(images, source, opened.work)
    used = images.used(images_md5, complete=not streams or stores or planned.reads_to_the_end)
    made_of = RecordUsed(
        kind=record.kind,
        record=record.record_id,
        version=record.version,
        title=record.title,
        files=(used, *(local.file for local in (maps, *local_tables))),
    )
    recipe = Recipe(made_of, selection, rendering, packaging)
    return Survey(opened, images, maps, streams, stores, metadata, planned, recipe)


@task(name="index", task_run_name="index {maps.file.name}", persist_result=False)
def index(maps: LocalFile) -> Index:
    """List tiles and cells of the reference maps' archive."""
    with still_running(f"listing {maps.file.name}"):
        found = index_archive(ArchiveReader(decompress(maps.open()), MAPS_ROOT, maps.file.name))
    patches = sum(len(cells) for cells in found.values())
    get_run_logger().info(
        "%s: %s in %s", maps.file.name, counted(patches, "patch"), counted(len(found), "tile")
    )
    return found


def find_finished(known: Survey, *, keep_bundles: bool) -> Todo:
    """Find out what a published dataset and other runs left in the destination, and what to do."""
    store = known.opened.store
    with still_running(f"checking the files in {store.url}"):
        published = find_published(store)
    if published is not None:
        published = published.verified_as(known.recipe.source)
    cache = TileCache(store, published, known.opened.work.staging, streams=known.streams)
    bundles = BundleCache(store, known.recipe, keeps=keep_bundles, streams=known.streams)
    bundles.remove_halves()
    planned = plan_jobs(known.plan, known.recipe, cache, bundles)
    return Todo(known, cache, bundles, planned, zip_digests(planned, cache))


def announce(todo: Todo) -> None:
    """Log what the run will do, and check that there is room for it."""
    known, published, logger = todo.known, todo.cache.published, get_run_logger()
    source, store, work = known.opened.source, known.opened.store, known.opened.work
    missing = [len(job.plan.cells) for job in todo.jobs if job.missing]
    to_fetch = bytes_to_download(source, known.images, work) if todo.reads_images else 0
    to_store = known.opened.connections.room(to_fetch) + (to_fetch if known.stores else 0)
    published_patches = known.plan.patches * (1 + len(known.recipe.packaging.formats))
    room = space.estimate_room(missing, published_patches, to_store, work.root, store.folder, waiting=WAITING)
    if todo.bundles.keeps and store.folder is not None:
        room = {**room, store.folder: room[store.folder] + sum(missing) * space.BUNDLE_BYTES_A_PATCH}
    if published is not None:
        options = known.recipe.selection, known.recipe.rendering, known.recipe.packaging
        for change in option_changes(published.card, *options):
            logger.info("the published dataset will change: %s", change)
    logger.info(
        "%s of %s (%s finished before) into %s: %s",
        *(counted(known.plan.patches, "patch"), counted(len(todo.jobs), "tile")),
        *(len(todo.jobs) - len(missing), store.url),
        space.describe_needs(to_fetch, room, stores=known.stores),
    )
    space.require_room(room)
