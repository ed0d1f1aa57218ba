"""Download the small files, list what the record holds, and find out what is left to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect import get_run_logger, task

from bigearthnet import plan as planning
from bigearthnet.archive import ArchiveReader, Index, decompress, index_archive
from bigearthnet.dataset import find_published
from bigearthnet.dataset.freshness import option_changes
from bigearthnet.dataset.jobs import Job, needs_images, plan_jobs
from bigearthnet.dataset.publish import ZipDigest, zip_digests
from bigearthnet.dataset.tiles import TileCache
from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE, MAPS_ROOT, METADATA_FILES
from bigearthnet.options import Rendering, Selection, Transfer
from bigearthnet.source import LocalFile, Record, RecordFile, bytes_to_download
from bigearthnet.work.space import require_space
from tasks.connect import Opened
from tasks.convert import WAITING
from tasks.heartbeat import still_running
from tasks.record import download


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What is known before anything large is downloaded or converted.

    Attributes:
        opened: source, destination and work folder.
        images: the images' archive.
        maps: the reference maps' archive.
        streams: the images' archive is read over the network, without being kept.
        metadata: the record's metadata, None without its files.
        plan: the tiles to make.
        recipe: what the dataset is made of.
    """

    opened: Opened
    images: RecordFile
    maps: LocalFile
    streams: bool
    metadata: planning.Metadata | None
    plan: planning.Plan
    recipe: planning.Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Todo:
    """What a run has to do.

    Attributes:
        known: what is known of the record.
        cache: the finished tiles in the destination.
        jobs: a job for each tile, in the order of the archives.
        digests: of the zips that are put together anew; each shard is added in order.
    """

    known: Survey
    cache: TileCache
    jobs: Sequence[Job]
    digests: Mapping[planning.Kind, ZipDigest]

    @property
    def needs_images(self) -> bool:
        """True if images have to be made."""
        return any(needs_images(job, self.cache) for job in self.jobs)


def survey(
    record: Record, opened: Opened, selection: Selection, rendering: Rendering, transfer: Transfer
) -> Survey:
    """Download the small files, list tiles and patches, and plan what to make of them.

    The reference maps are kept in any case: their archive has the same patches as the images', at 0.4 % of
    the size, so that the plan is made from it. Images without a stated md5 are kept, too: nothing could
    verify a stream of them.
    """
    source, work = opened.source, opened.work
    images, maps_file = record.require(IMAGES_ARCHIVE), record.require(MAPS_ARCHIVE)
    tables = [file for name in METADATA_FILES if (file := record.file(name)) is not None]
    streams = transfer == "stream" and source.folder is None and images.md5 is not None
    kept = [maps_file, *tables, *([] if streams else [images])]
    needed = sum(bytes_to_download(source, file, work) for file in kept)
    require_space(work.root, needed, "the record's files", "or use transfer: stream")
    maps = download(maps_file, source, work)
    local_tables = [download(file, source, work) for file in tables]
    metadata = planning.read_metadata([table.path for table in local_tables]) if local_tables else None
    planned = planning.plan_tiles(index(maps), metadata, selection)
    complete = not streams or planned.reads_to_the_end
    used = planning.SourceFile(
        name=images.name,
        size=images.size,
        md5=images.md5 or download(images, source, work).md5,
        verification=images.verification(complete=complete),
    )
    made_of = planning.RecordUsed(
        kind=record.kind,
        record=record.record_id,
        version=record.version,
        title=record.title,
        files=(used, *(_used(file) for file in (maps, *local_tables))),
    )
    recipe = planning.Recipe(made_of, selection, rendering)
    return Survey(opened, images, maps, streams, metadata, planned, recipe)


@task(name="index", task_run_name="index {maps.name}", persist_result=False)
def index(maps: LocalFile) -> Index:
    """List tiles and cells of the reference maps' archive."""
    with still_running(f"listing {maps.name}"):
        found = index_archive(ArchiveReader(decompress(maps.open()), MAPS_ROOT, maps.name))
    patches = sum(len(cells) for cells in found.values())
    get_run_logger().info("%s: %s patches in %s tiles", maps.name, f"{patches:,}", len(found))
    return found


def find_finished(known: Survey) -> Todo:
    """Find out what a published dataset and interrupted runs left in the destination, and what to do."""
    store = known.opened.store
    with still_running(f"checking the files in {store.url}"):
        published = find_published(store)
    if published is not None:
        published = published.verified_as(known.recipe.source)
    cache = TileCache(store, published, known.opened.work.staging, streams=known.streams)
    planned = plan_jobs(known.plan, known.recipe, cache)
    return Todo(known, cache, planned, zip_digests(planned, cache))


def announce(todo: Todo) -> None:
    """Log what the run will do, and check that there is room for it."""
    known, published, logger = todo.known, todo.cache.published, get_run_logger()
    source, store, work = known.opened.source, known.opened.store, known.opened.work
    missing = [len(job.plan.cells) for job in todo.jobs if job.missing]
    needed = planning.estimate(
        missing,
        known.plan.patches,
        bytes_to_download(source, known.images, work) if todo.needs_images else 0,
        streams=known.streams,
        waiting=WAITING,
        local=store.folder is not None,
    )
    if published is not None:
        for change in option_changes(published.card, known.recipe.selection, known.recipe.rendering):
            logger.info("the published dataset will change: %s", change)
    logger.info(
        "%s patches of %s tiles (%s finished before) into %s: %s",
        *(f"{known.plan.patches:,}", len(todo.jobs), len(todo.jobs) - len(missing), store.url),
        planning.describe_needs(needed, work.root, store.folder, streams=known.streams),
    )
    planning.require_room(needed, work.root, store.folder)


def _used(local: LocalFile) -> planning.SourceFile:
    return planning.SourceFile(
        name=local.name, size=local.size, md5=local.md5, verification=local.verification
    )
