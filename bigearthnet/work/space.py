"""Disk space: what a run will need, and what is free."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bigearthnet.errors import SpaceError
from bigearthnet.progress import human_bytes

BUNDLE_BYTES_A_PATCH: Final = 3 * (29_696 + 3 * 512) + 4 * 1024
"""Three bands and a map with their tar headers."""
PNG_BYTES_A_PATCH: Final = 30_000
"""An image and its mask, generously: real patches measured 16 to 25 KB with the default rendering."""
_INODES: Final = 1_000
"""A folder holds 8 files and folders for each of 115 finished tiles until the zips are joined."""

Room = Mapping[Path, int]
"""Bytes that are needed in each folder."""


def estimate_room(
    missing: Sequence[int], patches: int, to_store: int, work: Path, destination: Path | None, *, waiting: int
) -> Room:
    """Add up what a run will need.

    Args:
        missing: patches of each tile that is not finished.
        patches: of the whole dataset, once for the zips and once for each other format.
        to_store: bytes of archives that come into the work folder.
        work: the work folder.
        destination: a folder holds finished tiles until the zips are joined; None for a bucket.
        waiting: tiles that can be between extraction and the end of conversion.
    """
    largest = sorted(missing, reverse=True)
    bundles = sum(largest[:waiting]) * BUNDLE_BYTES_A_PATCH
    converting = sum(largest[: waiting + 1]) * PNG_BYTES_A_PATCH
    room = {work: bundles + converting + to_store}
    if destination is not None:
        room[destination] = (sum(missing) + patches) * PNG_BYTES_A_PATCH
    return room


def require_room(room: Room, advice: str = "or select fewer patches, or use transfer: stream") -> None:
    """Check that there is room for all of it; folders on one disk share what is free.

    Raises:
        SpaceError: there is not.
    """
    for folder in room:
        on_disk = sum(size for other, size in room.items() if same_disk(folder, other))
        require_space(folder, on_disk, "archives, tiles and the dataset", advice)


def describe_needs(to_fetch: int, room: Room, *, stores: bool) -> str:
    """Return a line such as `58.9 GiB to download; disk: about 60.1 GiB of 80.0 GiB free in /data/work`."""
    doing = "{} to download" if stores else "up to {} to stream"
    fetch = doing.format(human_bytes(to_fetch)) if to_fetch else "nothing to download"
    folders = [
        f"about {human_bytes(size)} of {human_bytes(free_bytes(folder))} free in {folder}"
        for folder, size in room.items()
    ]
    return f"{fetch}; disk: {', '.join(folders)}"


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist."""
    return shutil.disk_usage(_existing(folder)).free


def require_inodes(folder: Path) -> None:
    """Make sure that a run can make its files on the disk of a folder, which need not exist.

    Raises:
        SpaceError: it cannot.
    """
    status = os.statvfs(_existing(folder))
    if status.f_files and status.f_favail < _INODES:  # btrfs has no fixed number of them, and says 0
        raise SpaceError(
            f"not enough inodes on the disk of {folder}: {_INODES:,} are needed, {status.f_favail:,} are "
            "free. Remove some of its many files, or choose another disk."
        )


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


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
