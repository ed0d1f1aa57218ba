"""Make the tiles: extraction reads ahead, conversion follows, finished tiles are stored in order."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from prefect import get_run_logger
from prefect.futures import PrefectFuture, wait
from prefect.utilities.annotations import opaque

from bigearthnet.archive.bundle import Extractor
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.dataset.bundles import StoredBundle
from bigearthnet.dataset.jobs import Job, plan_tile, plan_whole_tile, starts_from_bundles
from bigearthnet.dataset.tiles import FinishedTile
from bigearthnet.errors import ArchiveError, ChecksumError
from bigearthnet.names import IMAGES_ROOT, MAPS_ROOT
from bigearthnet.plan.recipe import Kind
from bigearthnet.progress import Tally
from bigearthnet.source.local import note_verified
from bigearthnet.source.stream import Mark, Stream
from tasks.cluster import Cluster
from tasks.convert import (
    WAITING,
    convert,
    convert_on_worker,
    extract,
    store_tile,
    upload_bundles,
)
from tasks.heartbeat import byte_progress
from tasks.record import download
from tasks.survey import Todo

_Parameter = TypeVar("_Parameter")


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A tile on its way; `made` is None where nothing was left to do."""

    job: Job
    made: PrefectFuture[Any] | None = None  # of a ConvertedTile; of a FinishedTile from a cluster
    mark: Mark | None = None
    stored: Mapping[Kind, StoredBundle] = field(default_factory=dict)
    sent: bool = False  # to a cluster


def make_tiles(todo: Todo, cluster: Cluster | None) -> list[FinishedTile]:
    """Extract and convert what is not finished, here or on a cluster.

    Extraction waits while conversion is behind. Tiles are finished in the order of the archives, whichever
    was converted first, so that digests and zips are the same on any number of machines.
    """
    finished: list[FinishedTile] = []
    pending: deque[_Pending] = deque()
    with _open_archives(todo) as (extractor, stream):
        tally = Tally(len(todo.jobs), todo.known.plan.patches, time.monotonic)

        def finish_oldest() -> None:
            one = pending.popleft()
            finished.append(_finish(one, todo, cluster))
            is_new = one.made is not None
            line = tally.advance(len(one.job.plan.cells), is_new=is_new)
            if is_new:
                get_run_logger().info(line)

        try:
            for job in todo.jobs:
                while len(pending) >= (WAITING if cluster is None else cluster.waiting):
                    finish_oldest()
                pending.append(_begin(job, todo, extractor, stream, cluster))
            while pending:
                finish_oldest()
        finally:  # no task of this machine may go on when the folders are unlocked
            wait([one.made for one in pending if one.made is not None and not one.sent])
    return finished


def _begin(
    job: Job, todo: Todo, extractor: Extractor, stream: Stream | None, cluster: Cluster | None
) -> _Pending:
    """Extract what is not in the store of a tile, and submit its conversion."""
    if not job.missing:
        return _Pending(job)
    work, store, recipe = todo.known.opened.work, todo.cache.store, todo.known.recipe
    stores = todo.bundles.keeps or cluster is not None
    if starts_from_bundles(job, todo.cache, stores=stores):
        request, conversion = plan_whole_tile(job)
    else:
        request, conversion = plan_tile(job, todo.cache)
        stores = False
    extracted = extract(extractor, _unvisited(request), work.bundles, packed=stores)
    read_now = stream.mark() if stream is not None and extracted.images is not None else None
    mark = max([*job.marks, *filter(None, [read_now])], default=None)
    added: Mapping[Kind, StoredBundle] = {}
    if stores:
        upload = upload_bundles if store.folder is None else upload_bundles.fn
        added = upload(todo.bundles, job, extracted, read_now)
    if stores and cluster is not None:
        extracted.remove()
        stored = {**job.bundles, **added}
        sent = {"job": job, "stored": stored, "mark": mark, "recipe": recipe, "destination": store.url}
        return _Pending(job, cluster.submit(convert_on_worker, **sent), mark, stored, sent=True)
    folder = work.tiles / job.plan.tile
    made = convert.submit(_unvisited(conversion), extracted, job.bundles, store, recipe.rendering, folder)
    return _Pending(job, made, mark, job.bundles)


def _unvisited(parameter: _Parameter) -> _Parameter:
    """Keep Prefect from looking for futures in a parameter: it visits each patch id several times."""
    return cast(_Parameter, opaque(parameter))


def _finish(one: _Pending, todo: Todo, cluster: Cluster | None) -> FinishedTile:
    """Store what was converted of a tile, and add its shards to the digests of the zips."""
    folder = todo.known.opened.work.tiles / one.job.plan.tile
    made = None
    if one.made is not None:
        made = one.made.result() if cluster is None else cluster.wait(one.made, one.job.plan.tile)
    tile = store_tile(one.job, made, one.mark, folder, todo.cache, todo.digests)
    todo.bundles.drop(one.stored)
    return tile


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
            marks += todo.bundles.marks  # a run that was killed while it settled them has not verified all
            stream = Stream(opened.source, known.images, marks, on_bytes, opened.connections)
            chunks = decompress(stream)
        else:
            local = download(known.images, opened.source, opened.work, opened.connections)
            chunks = decompress(local.open())
    images = ArchiveReader(chunks, IMAGES_ROOT, known.images.name)
    maps = ArchiveReader(decompress(known.maps.open()), MAPS_ROOT, known.maps.file.name)
    try:
        yield Extractor(images, maps, todo.bundles.bands), stream
        if stream is not None and known.plan.reads_to_the_end:
            stream.verify()
            note_verified(opened.source, known.images, opened.work)
            todo.bundles.settle(verified=True)
    except (ArchiveError, ChecksumError):
        if stream is not None:  # what was read before may be as wrong
            todo.cache.clear()
            todo.bundles.settle(verified=False)
        raise
    finally:
        if stream is not None:
            stream.close()
