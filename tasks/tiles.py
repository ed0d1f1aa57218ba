"""All tiles: extraction runs ahead, converters follow."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import rmtree
from typing import Any

from prefect import get_run_logger
from prefect.futures import PrefectFuture, wait

from bigearthnet.archive.reader import ArchiveReader
from bigearthnet.dataset.destination import Destination
from bigearthnet.errors import ArchiveError, ChecksumError
from bigearthnet.names import IMAGES_ROOT, MAPS_ROOT
from bigearthnet.options import Rendering
from bigearthnet.plan.jobs import Job, Work, jobs, unpack
from bigearthnet.plan.selection import matches
from bigearthnet.progress import Tally
from bigearthnet.source.local import read_held
from bigearthnet.source.stream import Stream
from bigearthnet.tile.convert import MadeTile
from bigearthnet.tile.extract import Extractor
from bigearthnet.work.workspace import Workspace
from tasks.convert import WAITING, Conversion, done_before, submit
from tasks.download import download, reporting
from tasks.extract import extract
from tasks.remote import remote
from tasks.survey import Survey
from tasks.upload import keep


def divide(known: Survey, rendering: Rendering, destination: Destination, workspace: Workspace) -> Work:
    """Divide what the survey found into jobs, and see which of them earlier runs have done."""
    todo = jobs(known.plan, known.images_md5, known.maps.md5, known.verification, rendering)
    kept = {job.key: done for job in todo if (done := destination.find(job)) is not None}
    here = {
        job.key: done
        for job in todo
        if job.key not in kept and (done := done_before(job, workspace)) is not None
    }
    return Work(todo, here, kept, rendering, known.images_md5)


def make_tiles(
    known: Survey, work: Work, destination: Destination, workspace: Workspace
) -> tuple[MadeTile, ...]:
    """Extract and convert what was not made before; extraction waits when the converters are behind."""
    made: list[MadeTile] = []
    tally = Tally(len(work.jobs), sum(len(job.tile.places) for job in work.jobs), time.monotonic)
    logger = get_run_logger()
    pending: deque[tuple[Job, PrefectFuture[dict[str, Any]] | None]] = deque()

    def settle_oldest() -> None:
        job, future = pending.popleft()
        done = work.kept[job.key] if future is None else unpack(future.result())
        keep(job, done, work, destination)
        made.append(done.made)
        logger.info(tally.advance(len(job.tile.places), is_new=job.key not in before))

    before, stream = work.before, _stream(known, work)
    with _archives(known, work, destination, workspace, stream) as extractor:
        try:
            for job in work.jobs:
                while len(pending) >= WAITING:
                    settle_oldest()
                pending.append((job, _begin(job, work, extractor, stream, workspace)))
            while pending:
                settle_oldest()
        finally:
            wait([future for _, future in pending if future])  # none may be at work when folders are let go
    return tuple(made)


def _begin(
    job: Job, work: Work, extractor: Extractor, stream: Stream | None, workspace: Workspace
) -> PrefectFuture[dict[str, Any]] | None:
    """Have a tile made; none if all of it is at the destination."""
    if job.key in work.kept:
        return None
    bundles = mark = None
    if job.key not in work.here:
        bundles = extract(extractor, job.tile, workspace.bundles)
        mark = stream.mark() if stream else None
    return submit(Conversion(job, bundles, mark, work.rendering), workspace)


def _stream(known: Survey, work: Work) -> Stream | None:
    """The images' archive as a stream, if it is to be one and anything is left to make of it."""
    if not (known.streams and work.missing):
        return None
    on_bytes = reporting(f"streaming {known.images.name}", known.images.size)
    return Stream(remote(known.aws_credentials), known.images, work.marks, on_bytes)


@contextmanager
def _archives(
    known: Survey, work: Work, destination: Destination, workspace: Workspace, stream: Stream | None
) -> Iterator[Extractor]:
    """Both archives, side by side; each is opened when its first byte is asked for."""
    if stream is not None:
        chunks: Iterator[bytes] = stream.chunks
    else:
        held = download(known.images, workspace, known.aws_credentials) if work.missing else None
        chunks = read_held(held.path) if held else iter(())
    rmtree(workspace.bundles, ignore_errors=True)
    workspace.bundles.mkdir(parents=True)
    try:
        yield Extractor(
            ArchiveReader(chunks, IMAGES_ROOT, known.images.name),
            ArchiveReader(read_held(known.maps.path), MAPS_ROOT, known.maps.name),
            known.plan,
            lambda tile: matches(tile, known.selection),
        )
        if stream is not None and known.plan.reads_to_the_end:
            stream.settle()
    except (ArchiveError, ChecksumError):
        if stream is not None:  # what came before may be as wrong
            for job in work.jobs:
                rmtree(workspace.tile(job.key), ignore_errors=True)
            destination.drop(work)
        raise
    finally:
        if stream is not None:
            stream.close()
        rmtree(workspace.bundles, ignore_errors=True)
