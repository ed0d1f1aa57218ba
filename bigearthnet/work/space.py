"""Free disk space, looked at before work begins instead of running out of it hours later."""

import shutil
from pathlib import Path

from bigearthnet.errors import SpaceError
from bigearthnet.progress import human_bytes


def free_bytes(folder: Path) -> int:
    """Free bytes where `folder` is or will be made."""
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def same_disk(one: Path, other: Path) -> bool:
    """Whether two folders that exist are on one file system."""
    return one.stat().st_dev == other.stat().st_dev


def require_space(folder: Path, needed: int, purpose: str, remedy: str) -> None:
    """Make sure that `needed` bytes are free for `folder`.

    Raises:
        SpaceError: they are not; says how many are, what they are for, and the remedy.
    """
    free = free_bytes(folder)
    if needed > free:
        raise SpaceError(
            f"expected {human_bytes(needed)} of free disk space for {purpose} in {folder}, "
            f"found {human_bytes(free)}; {remedy}"
        )
