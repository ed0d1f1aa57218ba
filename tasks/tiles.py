"""All tiles: extraction runs ahead, converters follow."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import rmtree
from typing import Any

from prefect.futures import PrefectFuture, wait

from bigearthnet import unverified
from bigearthnet.archive import ArchiveReader
from bigearthnet.bundle import Extractor
from bigearthnet.convert import MadeTile
from bigearthnet.holdings import read_held, read_streamed
from bigearthnet.jobs import Work, jobs, unpack
from bigearthnet.names import IMAGES_ROOT, MAPS_ROOT
from bigearthnet.parameters import Rendering
from bigearthnet.selection import matches
from bigearthnet.workspace import Workspace
from tasks import policy
from tasks.convert import WAITING, made_before, submit
from tasks.download import download, reporting
from tasks.extract import extract
from tasks.survey import Survey


def divide(known: Survey, rendering: Rendering, workspace: Workspace) -> Work:
    """Divide what the survey found into jobs, and see which of them earlier runs have done."""
    unverified.drop(workspace)
    todo = jobs(known.plan, known.images_md5, known.maps.md5, known.verification, rendering)
    before = {job.key: made for job in todo if (made := made_before(job, workspace)) is not None}
    return Work(todo, before, rendering)


def make_tiles(known: Survey, work: Work, workspace: Workspace) -> tuple[MadeTile, ...]:
    """Extract and convert what was not made before; extraction waits when the converters are behind."""
    made: dict[str, MadeTile] = {}
    pending: deque[tuple[str, PrefectFuture[dict[str, Any]]]] = deque()
    with _archives(known, work, workspace) as extractor:
        try:
            for job in work.jobs:
                while len(pending) >= WAITING:
                    key, future = pending.popleft()
                    made[key] = unpack(future.result())
                done = job.key in work.before
                bundles = None if done else extract(extractor, job.tile, workspace.bundles)
                pending.append((job.key, submit(job, bundles, work.rendering, workspace)))
            made.update((key, unpack(future.result())) for key, future in pending)
        finally:
            wait([future for _, future in pending])  # none may be at work when folders are let go
    return tuple(made[job.key] for job in work.jobs)


@contextmanager
def _archives(known: Survey, work: Work, workspace: Workspace) -> Iterator[Extractor]:
    """Both archives, side by side; each is opened when its first byte is asked for."""
    chunks = _images(known, workspace) if work.missing else iter(())
    streams = known.streams and bool(work.missing)
    if streams:
        unverified.begin([job.key for job in work.missing], workspace)
    rmtree(workspace.bundles, ignore_errors=True)
    workspace.bundles.mkdir(parents=True)
    try:
        yield Extractor(
            ArchiveReader(chunks, IMAGES_ROOT, known.images.name),
            ArchiveReader(read_held(known.maps.path), MAPS_ROOT, known.maps.name),
            known.plan,
            lambda tile: matches(tile, known.selection),
        )
        if streams:
            if known.plan.reads_to_the_end:
                deque(chunks, maxlen=0)  # the md5 is the whole stream's, also if its last tiles are made
            unverified.confirm(workspace)
    finally:
        rmtree(workspace.bundles, ignore_errors=True)


def _images(known: Survey, workspace: Workspace) -> Iterator[bytes]:
    """The tar of the images, from the network or the disk."""
    if known.streams:
        on_bytes = reporting(f"streaming {known.images.name}", known.images.size)
        return read_streamed(policy.http(), known.images, on_bytes)
    return read_held(download(known.images, workspace).path)
