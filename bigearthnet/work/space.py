"""Free disk space, checked before work begins."""

import shutil
from pathlib import Path

from bigearthnet.errors import SpaceError
from bigearthnet.progress import human_bytes


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
