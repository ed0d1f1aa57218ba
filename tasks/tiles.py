"""Make the tiles: extraction reads ahead, conversion follows, finished tiles are stored in order."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prefect import get_run_logger
from prefect.futures import PrefectFuture, wait

from bigearthnet.archive.bundle import Extractor
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.dataset.jobs import Job, plan_tile
from bigearthnet.dataset.tiles import FinishedTile
from bigearthnet.errors import ArchiveError, ChecksumError
from bigearthnet.names import IMAGES_ROOT, MAPS_ROOT, RGB_BANDS
from bigearthnet.progress import Tally
from bigearthnet.source.local import note_verified
from bigearthnet.source.stream import Mark, Stream
from bigearthnet.tile import ConvertedTile
from tasks.convert import WAITING, convert, extract, store_tile
from tasks.heartbeat import byte_progress
from tasks.record import download
from tasks.survey import Todo


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A tile on its way; `converted` is None where nothing was left to do."""

    job: Job
    converted: PrefectFuture[ConvertedTile] | None
    mark: Mark | None


def make_tiles(todo: Todo) -> list[FinishedTile]:
    """Extract and convert what is not finished; extraction waits while conversion is behind."""
    finished: list[FinishedTile] = []
    pending: deque[_Pending] = deque()
    with _open_archives(todo) as (extractor, stream):
        tally = Tally(len(todo.jobs), todo.known.plan.patches, time.monotonic)

        def finish_oldest() -> None:
            one = pending.popleft()
            finished.append(_finish(one, todo))
            is_new = one.converted is not None
            line = tally.advance(len(one.job.plan.cells), is_new=is_new)
            if is_new:
                get_run_logger().info(line)

        try:
            for job in todo.jobs:
                while len(pending) >= WAITING:
                    finish_oldest()
                pending.append(_begin(job, todo, extractor, stream))
            while pending:
                finish_oldest()
        finally:  # no task may go on when the folders are unlocked
            wait([one.converted for one in pending if one.converted is not None])
    return finished


def _begin(job: Job, todo: Todo, extractor: Extractor, stream: Stream | None) -> _Pending:
    """Extract a tile and submit its conversion."""
    if not job.missing:
        return _Pending(job, None, None)
    opened = todo.known.opened
    request, conversion = plan_tile(job, todo.cache)
    bundles = extract(extractor, request, opened.work.bundles)
    marks = job.marks
    if stream is not None and bundles.images is not None:
        marks.append(stream.mark())
    folder = opened.work.tiles / job.plan.tile
    converted = convert.submit(conversion, bundles, todo.known.recipe.rendering, folder)
    return _Pending(job, converted, max(marks, default=None))


def _finish(one: _Pending, todo: Todo) -> FinishedTile:
    """Store what was converted of a tile, and add its shards to the digests of the zips."""
    folder = todo.known.opened.work.tiles / one.job.plan.tile
    converted = None if one.converted is None else one.converted.result()
    return store_tile(one.job, converted, one.mark, folder, todo.cache, todo.digests)


@contextmanager
def _open_archives(todo: Todo) -> Iterator[tuple[Extractor, Stream | None]]:
    """Open both archives side by side; the images' only if images have to be made or to be verified.

    Yields what reads them, and the images' stream if their archive is not on this machine.
    """
    known, opened, stream = todo.known, todo.known.opened, None
    chunks: Iterator[bytes] = iter(())
    marks = [mark for job in todo.jobs for mark in job.marks]
    if todo.needs_images or (marks and known.plan.reads_to_the_end):
        if known.streams:
            doing = "streaming" if opened.source.folder is None else "reading"
            on_bytes = byte_progress(f"{doing} {known.images.name}", known.images.size)
            stream = Stream(opened.source, known.images, marks, on_bytes, opened.connections)
            chunks = decompress(stream)
        else:
            local = download(known.images, opened.source, opened.work, opened.connections)
            chunks = decompress(local.open())
    images = ArchiveReader(chunks, IMAGES_ROOT, known.images.name)
    maps = ArchiveReader(decompress(known.maps.open()), MAPS_ROOT, known.maps.file.name)
    try:
        yield Extractor(images, maps, RGB_BANDS[known.recipe.rendering.bands]), stream
        if stream is not None and known.plan.reads_to_the_end:
            stream.verify()
            note_verified(opened.source, known.images, opened.work)
    except (ArchiveError, ChecksumError):
        if stream is not None:  # what was read before may be as wrong
            todo.cache.clear()
        raise
    finally:
        if stream is not None:
            stream.close()
