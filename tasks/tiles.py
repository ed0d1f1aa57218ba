"""All tiles: extraction runs ahead, converters follow."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import rmtree
from typing import Any

from prefect.futures import PrefectFuture, wait

from bigearthnet.archive import ArchiveReader
from bigearthnet.bundle import Extractor
from bigearthnet.convert import MadeTile
from bigearthnet.errors import ArchiveError, ChecksumError
from bigearthnet.holdings import read_held
from bigearthnet.jobs import Work, jobs, unpack
from bigearthnet.names import IMAGES_ROOT, MAPS_ROOT
from bigearthnet.parameters import Rendering
from bigearthnet.selection import matches
from bigearthnet.stream import Stream
from bigearthnet.workspace import Workspace
from tasks import policy
from tasks.convert import WAITING, Conversion, done_before, submit
from tasks.download import download, reporting
from tasks.extract import extract
from tasks.survey import Survey


def divide(known: Survey, rendering: Rendering, workspace: Workspace) -> Work:
    """Divide what the survey found into jobs, and see which of them earlier runs have done."""
    todo = jobs(known.plan, known.images_md5, known.maps.md5, known.verification, rendering)
    before = {job.key: done for job in todo if (done := done_before(job, workspace)) is not None}
    return Work(todo, before, rendering)


def make_tiles(known: Survey, work: Work, workspace: Workspace) -> tuple[MadeTile, ...]:
    """Extract and convert what was not made before; extraction waits when the converters are behind."""
    made: dict[str, MadeTile] = {}
    pending: deque[tuple[str, PrefectFuture[dict[str, Any]]]] = deque()
    stream = _stream(known, work)
    with _archives(known, work, workspace, stream) as extractor:
        try:
            for job in work.jobs:
                while len(pending) >= WAITING:
                    key, future = pending.popleft()
                    made[key] = unpack(future.result()).made
                bundles = mark = None
                if job.key not in work.before:
                    bundles = extract(extractor, job.tile, workspace.bundles)
                    mark = stream.mark() if stream else None
                pending.append((job.key, submit(Conversion(job, bundles, mark, work.rendering), workspace)))
            made.update((key, unpack(future.result()).made) for key, future in pending)
        finally:
            wait([future for _, future in pending])  # none may be at work when folders are let go
    return tuple(made[job.key] for job in work.jobs)


def _stream(known: Survey, work: Work) -> Stream | None:
    """The images' archive as a stream, if it is to be one and anything is left to make of it."""
    if not (known.streams and work.missing):
        return None
    on_bytes = reporting(f"streaming {known.images.name}", known.images.size)
    return Stream(policy.http(), known.images, work.marks, on_bytes)


@contextmanager
def _archives(known: Survey, work: Work, workspace: Workspace, stream: Stream | None) -> Iterator[Extractor]:
    """Both archives, side by side; each is opened when its first byte is asked for."""
    if stream is not None:
        chunks: Iterator[bytes] = stream.chunks
    else:
        chunks = read_held(download(known.images, workspace).path) if work.missing else iter(())
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
        raise
    finally:
        if stream is not None:
            stream.close()
        rmtree(workspace.bundles, ignore_errors=True)
