"""Disk space: what a run will need, and what is free."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigearthnet.errors import SpaceError
from bigearthnet.progress import human_bytes

BUNDLE_BYTES_A_PATCH: Final = 3 * (29_696 + 3 * 512) + 4 * 1024
"""Three bands and a map with their tar headers."""
PNG_BYTES_A_PATCH: Final = 30_000
"""An image and its mask, generously: real patches measured 16 to 25 KB with the default rendering."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes to come over the network, and space in the work folder and the destination's (0 for a bucket)."""

    to_fetch: int
    work: int
    destination: int


def estimate(
    missing: Sequence[int], patches: int, to_fetch: int, *, streams: bool, waiting: int, local: bool
) -> Estimate:
    """Add up what a run will need.

    Args:
        missing: patches of each tile that is not finished.
        patches: of the whole dataset.
        to_fetch: bytes of the images' archive to come over the network.
        streams: they are not kept.
        waiting: tiles that can be between extraction and the end of conversion.
        local: the destination is a folder, which holds finished tiles until the zips are joined.
    """
    largest = sorted(missing, reverse=True)
    bundles = sum(largest[:waiting]) * BUNDLE_BYTES_A_PATCH
    converting = sum(largest[: waiting + 1]) * PNG_BYTES_A_PATCH
    destination = (sum(missing) + patches) * PNG_BYTES_A_PATCH if local else 0
    return Estimate(to_fetch, bundles + converting + (0 if streams else to_fetch), destination)


def require_room(needed: Estimate, work: Path, destination: Path | None) -> None:
    """Check that there is room for all of it.

    Raises:
        SpaceError: there is not.
    """
    advice = "or select fewer patches, or use transfer: stream"
    if destination is not None and same_disk(work, destination):
        require_space(work, needed.work + needed.destination, "archives, tiles and the dataset", advice)
        return
    require_space(work, needed.work, "archives and tiles", advice)
    if destination is not None:
        require_space(destination, needed.destination, "the dataset", advice)


def describe_needs(needed: Estimate, work: Path, destination: Path | None, *, streams: bool) -> str:
    """Return a line such as `58.9 GiB to download; disk: about 60.1 GiB of 80.0 GiB free in /data/work`."""
    doing = "up to {} to stream" if streams else "{} to download"
    fetch = doing.format(human_bytes(needed.to_fetch)) if needed.to_fetch else "nothing to download"
    room = _room(needed.work, work)
    if destination is not None:
        room += f", {_room(needed.destination, destination)}"
    return f"{fetch}; disk: {room}"


def _room(needed: int, folder: Path) -> str:
    return f"about {human_bytes(needed)} of {human_bytes(free_bytes(folder))} free in {folder}"


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def same_disk(one: Path, other: Path) -> bool:
    """Return True for two folders on one file system."""
    return one.stat().st_dev == other.stat().st_dev


def require_space(folder: Path, needed: int, purpose: str, remedy: str) -> None:
    """Make sure that `needed` bytes are free where a folder is, for a purpose.

    Raises:
        SpaceError: fewer are free; the message ends with the remedy.
    """
    free = free_bytes(folder)
    if needed > free:
        raise SpaceError(
            f"not enough disk space in {folder} for {purpose}: {human_bytes(needed)} are needed, "
            f"{human_bytes(free)} are free. Free some, {remedy}."
        )
