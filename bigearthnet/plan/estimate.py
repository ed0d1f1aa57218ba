"""What a run is going to do, before it does it: bytes to fetch, and disk that it takes."""

from dataclasses import dataclass
from pathlib import Path

from bigearthnet.dataset.destination import Destination
from bigearthnet.errors import DestinationError
from bigearthnet.plan.jobs import Work
from bigearthnet.progress import human_bytes
from bigearthnet.work.space import free_bytes, require_space, same_disk

BUNDLE_BYTES_A_PATCH = 3 * (29_696 + 3 * 512) + 4 * 1024
"""Three bands and a map with their tar headers."""
PNG_BYTES_A_PATCH = 30_000
"""A rather large image and its mask: real patches measured 16 to 25 KB with the default rendering."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a run is going to do. Bytes throughout."""

    tiles: int
    patches: int
    made_before: int
    to_fetch: int
    streams: bool
    work_needed: int
    destination_needed: int


def outline(work: Work, to_fetch: int, *, streams: bool, waiting: int, stays: bool) -> Outline:
    """Add up what a run is going to do.

    Args:
        work: the jobs, and what is done of them already.
        to_fetch: bytes that have to come over the network, at most if it streams.
        streams: they do not stay on the disk.
        waiting: tile bundles that may lie on the disk at a time.
        stays: the dataset and its shards stay on this machine; else a shard leaves when it is done.
    """
    missing, patches = work.missing, sum(len(job.tile.places) for job in work.jobs)
    sizes = sorted((len(job.tile.places) for job in missing), reverse=True)
    bundles = sum(sizes[:waiting]) * BUNDLE_BYTES_A_PATCH
    shards = sum(sizes if stays else sizes[: waiting + 1]) * PNG_BYTES_A_PATCH
    return Outline(
        tiles=len(work.jobs),
        patches=patches,
        made_before=len(work.jobs) - len(missing),
        to_fetch=to_fetch,
        streams=streams,
        work_needed=bundles + shards + (0 if streams else to_fetch),
        destination_needed=2 * patches * PNG_BYTES_A_PATCH if stays else 0,
    )


def require_room(plan: Outline, work: Path, destination: Path | None) -> None:
    """Make sure there is room for all of it. The shards are linked where both are on one disk.

    Args:
        plan: what takes room.
        work: the work folder.
        destination: the folder of the dataset, if it is on this machine.

    Raises:
        SpaceError: there is not.
    """
    remedy = "free some space, choose folders on another disk, select less, or use transfer: stream"
    if destination is not None and same_disk(work, destination):
        needed = plan.work_needed + plan.destination_needed // 2
        require_space(work, needed, "archives, shards and the dataset", remedy)
    else:
        require_space(work, plan.work_needed, "archives and shards", remedy)
        if destination is not None:
            require_space(destination, plan.destination_needed, "the dataset", remedy)


def describe(plan: Outline, work: Path, destination: Destination) -> str:
    """One line of what is going to happen."""
    fetch = f"{human_bytes(plan.to_fetch)} to fetch" if plan.to_fetch else "nothing to fetch"
    if plan.streams and plan.to_fetch:
        fetch = f"up to {human_bytes(plan.to_fetch)} to stream"
    room = _room(plan.work_needed, work)
    if destination.folder is not None:
        room += f", {_room(plan.destination_needed, destination.folder)}"
    return (
        f"Going to make {plan.patches:,} patches of {plan.tiles} tiles ({plan.made_before} made before) for "
        f"{destination}: {fetch}; disk: {room}"
    )


def _room(needed: int, folder: Path) -> str:
    return f"about {human_bytes(needed)} in {folder} (free: {human_bytes(free_bytes(folder))})"


def check_folders(work: Path, destination: Path | None) -> None:
    """Make sure that neither folder lies in the other.

    Raises:
        DestinationError: one does.
    """
    if destination is None:
        return
    if work == destination or work in destination.parents or destination in work.parents:
        raise DestinationError(
            f"expected work folder and destination apart from each other, found {work} and {destination}; "
            "choose another work_dir"
        )
