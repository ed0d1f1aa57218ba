"""Make the tiles: extraction reads ahead, conversion follows, finished tiles are stored in order."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from prefect import get_run_logger
from prefect.futures import PrefectFuture, wait

from bigearthnet.archive import ArchiveReader, Extractor, decompress
from bigearthnet.dataset.jobs import Job, needs_images, plan_tile
from bigearthnet.dataset.publish import ZipDigest
from bigearthnet.dataset.tiles import FinishedTile, Shard, TileCache
from bigearthnet.errors import ArchiveError, ChecksumError
from bigearthnet.names import IMAGES_ROOT, MAPS_ROOT
from bigearthnet.plan import Kind
from bigearthnet.progress import Tally
from bigearthnet.source import Mark, Stream
from bigearthnet.tile import ConvertedTile, shard_file
from bigearthnet.work.workspace import Workspace
from tasks.connect import Opened
from tasks.convert import WAITING, convert, upload
from tasks.download import download
from tasks.extract import extract
from tasks.heartbeat import byte_progress, still_running
from tasks.survey import Survey


@dataclass(frozen=True, slots=True, eq=False)
class _Archives:
    """Both archives, open; `stream` is the images' if it is not on this machine."""

    extractor: Extractor
    stream: Stream | None


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A tile on its way; `converted` is None where nothing was left to do."""

    job: Job
    converted: PrefectFuture[ConvertedTile] | None
    mark: Mark | None


def make_tiles(
    survey: Survey, jobs: Sequence[Job], cache: TileCache, digests: Mapping[Kind, ZipDigest], opened: Opened
) -> list[FinishedTile]:
    """Extract and convert what is not finished; extraction waits while conversion is behind.

    Args:
        survey: what is known of the record.
        jobs: the tiles, in the order of the archives.
        cache: the finished tiles in the destination.
        digests: of the zips that are put together anew; each shard is added in order.
        opened: source, destination and work folder.
    """
    finished: list[FinishedTile] = []
    pending: deque[_Pending] = deque()
    with _open_archives(survey, jobs, cache, opened) as archives:
        tally = Tally(len(jobs), survey.plan.patches, time.monotonic)

        def finish_oldest() -> None:
            one = pending.popleft()
            finished.append(_finish(one, cache, digests, opened))
            is_new = one.converted is not None
            line = tally.advance(len(one.job.plan.cells), is_new=is_new)
            if is_new:
                get_run_logger().info(line)

        try:
            for job in jobs:
                while len(pending) >= WAITING:
                    finish_oldest()
                pending.append(_begin(job, archives, survey, cache, opened))
            while pending:
                finish_oldest()
        finally:  # no task may go on when the folders are unlocked
            wait([one.converted for one in pending if one.converted is not None])
    return finished


def _begin(job: Job, archives: _Archives, survey: Survey, cache: TileCache, opened: Opened) -> _Pending:
    """Extract a tile and submit its conversion."""
    if job.tile is not None:
        return _Pending(job, None, None)
    request, conversion = plan_tile(job, cache, opened.store)
    bundles = extract(archives.extractor, request, opened.work.bundles)
    marks = job.marks
    if archives.stream is not None and bundles.images is not None:
        marks.append(archives.stream.mark())
    folder = _scratch(job, opened.work)
    converted = convert.submit(conversion, bundles, survey.recipe.rendering, folder)
    return _Pending(job, converted, max(marks, default=None))


def _finish(
    one: _Pending, cache: TileCache, digests: Mapping[Kind, ZipDigest], opened: Opened
) -> FinishedTile:
    """Store what was converted of a tile, and add its shards to the digests of the zips."""
    job, folder = one.job, _scratch(one.job, opened.work)
    shards: dict[Kind, Shard] = dict(job.finished)
    if one.converted is not None:
        converted = one.converted.result()
        for kind in job.missing:
            store = upload if opened.store.folder is None else upload.fn
            shards[kind] = store(cache, kind, job.keys[kind], converted, one.mark, folder)
    tile = FinishedTile(shards["images"], shards["masks"])
    with still_running(f"reading back {tile.tile}"):
        for kind, digest in digests.items():
            made_now = kind in job.missing
            digest.add(folder / shard_file(kind) if made_now else tile.shard(kind).source, opened.store)
    rmtree(folder, ignore_errors=True)
    return tile


def _scratch(job: Job, work: Workspace) -> Path:
    return work.tiles / job.plan.tile


@contextmanager
def _open_archives(
    survey: Survey, jobs: Sequence[Job], cache: TileCache, opened: Opened
) -> Iterator[_Archives]:
    """Open both archives side by side; the images' only if images have to be made or to be verified."""
    work, stream = opened.work, None
    chunks: Iterator[bytes] = iter(())
    marks = [mark for job in jobs for mark in job.marks]
    if any(needs_images(job, cache) for job in jobs) or (marks and survey.plan.reads_to_the_end):
        if survey.streams:
            on_bytes = byte_progress(f"streaming {survey.images.name}", survey.images.size)
            stream = Stream(opened.source, survey.images, marks, on_bytes)
            chunks = decompress(stream)
        else:
            local = survey.local_images or download(survey.images, opened.source, work)
            chunks = decompress(local.open())
    for folder in (work.bundles, work.tiles):
        rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        yield _Archives(
            Extractor(
                ArchiveReader(chunks, IMAGES_ROOT, survey.images.name),
                ArchiveReader(decompress(survey.maps.open()), MAPS_ROOT, survey.maps.name),
            ),
            stream,
        )
        if stream is not None and survey.plan.reads_to_the_end:
            stream.verify()
    except (ArchiveError, ChecksumError):
        if stream is not None:  # what was read before may be as wrong
            cache.drop(key for job in jobs for key in job.keys.values())
        raise
    finally:
        if stream is not None:
            stream.close()
        for folder in (work.bundles, work.tiles):
            rmtree(folder, ignore_errors=True)
