"""See what there is before anything large is fetched."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from prefect import get_run_logger, task

from bigearthnet.archive.bundle import index_archive
from bigearthnet.archive.reader import ArchiveReader
from bigearthnet.dataset.card import Source, Verification
from bigearthnet.dataset.destination import Destination
from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE, MAPS_ROOT, METADATA_FILES
from bigearthnet.options import Selection, Transfer
from bigearthnet.plan.estimate import describe, outline, require_room
from bigearthnet.plan.jobs import Work
from bigearthnet.plan.metadata import Metadata, read_metadata
from bigearthnet.plan.selection import Index, Plan, plan
from bigearthnet.source.old.local import Holding, left_to_fetch, read_held, verification
from bigearthnet.source.old.provenance import source_of
from bigearthnet.source.old.record import Record, RecordFile
from bigearthnet.work.space import require_space
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.convert import WAITING
from tasks.download import download
from tasks.pulse import pulse


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What is known before anything large is fetched or made.

    The images' archive is not at hand yet unless it is local; `images_md5` is the record's or its own.
    """

    images: RecordFile
    images_md5: str
    maps: Holding
    metadata: Metadata | None
    plan: Plan
    selection: Selection
    streams: bool
    verification: Verification
    source: Source
    aws_credentials: str


@task(
    name="index",
    task_run_name="index {maps.name}",
    cache_key_fn=policy.keyed("key"),
    persist_result=True,
    result_serializer="json",
    cache_result_in_memory=False,
)
def _index(maps: Holding, key: str) -> dict[str, str]:  # noqa: ARG001 - the key is what it is cached by
    """List tiles and patches of the reference maps' archive, which has the same ones as the images'."""
    with pulse(f"Listing {maps.name}"):
        found = index_archive(ArchiveReader(read_held(maps.path), MAPS_ROOT, maps.name))
    patches = sum(len(places) for places in found.values())
    get_run_logger().info("%s holds %s patches in %s tiles", maps.name, f"{patches:,}", len(found))
    return {tile: places.astype("<u2").tobytes().hex() for tile, places in found.items()}


def index(maps: Holding, workspace: Workspace) -> Index:
    """What the reference maps' archive holds; read once for each md5."""
    key = f"index-{maps.md5}"
    configured = _index.with_options(
        result_storage=workspace.results, refresh_cache=policy.recall(key, workspace) is None
    )
    listing: dict[str, Any] = configured(maps, key)
    return {tile: np.frombuffer(bytes.fromhex(raw), "<u2") for tile, raw in listing.items()}


def survey(
    record: Record, selection: Selection, transfer: Transfer, workspace: Workspace, aws_credentials: str
) -> Survey:
    """Fetch the small files, list what there is, and decide what to make.

    The reference maps (0.3 of 59 GiB) are always kept: the plan is made from their list. Kept is also an
    archive of which no md5 is known: nothing could vouch for what is made of its stream.
    """
    images, maps_file = record.require(IMAGES_ARCHIVE), record.require(MAPS_ARCHIVE)
    listings = [file for name in METADATA_FILES if (file := record.file(name)) is not None]
    streams = transfer == "stream" and not images.is_local and images.md5 is not None
    kept = [maps_file, *listings] if streams else [images, maps_file, *listings]
    remedy = "free some space, choose a work_dir on another disk, or use transfer: stream"
    require_space(
        workspace.root, sum(left_to_fetch(file, workspace) for file in kept), "the record's files", remedy
    )
    maps = download(maps_file, workspace, aws_credentials)
    tables = [download(file, workspace, aws_credentials) for file in listings]
    metadata = read_metadata([table.path for table in tables]) if tables else None
    wanted = plan(index(maps, workspace), metadata, selection)
    images_md5 = images.md5 or download(images, workspace, aws_credentials).md5
    how = verification(images, streams=streams, to_the_end=wanted.reads_to_the_end)
    source = source_of(record, images_md5, how, [maps, *tables])
    return Survey(
        images, images_md5, maps, metadata, wanted, selection, streams, how, source, aws_credentials
    )


def announce(known: Survey, work: Work, workspace: Workspace, destination: Destination) -> None:
    """Say what will be done, and make sure there is room for it."""
    to_fetch = left_to_fetch(known.images, workspace) if work.missing else 0
    stays = destination.folder is not None
    ahead = outline(work, to_fetch, streams=known.streams, waiting=WAITING, stays=stays)
    get_run_logger().info(describe(ahead, workspace.root, destination))
    require_room(ahead, workspace.root, destination.folder)
