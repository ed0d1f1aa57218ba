"""Small file systems to fill up, to break, and to cut the power of."""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

_FS_IOC_SHUTDOWN: Final = 0x8004587D
_WITHOUT_FLUSH: Final = struct.pack("I", 2)
_KINDS: Final = {
    "tmpfs": ((), 16, ("-t", "tmpfs", "-o", "size=16m,nr_inodes=2000")),
    # auto_da_alloc would bring a file to the disk that is renamed over another one, as if it had been synced.
    "ext4": (("mkfs.ext4", "-q", "-m", "0"), 64, ("-o", "loop,noauto_da_alloc,errors=remount-ro")),
    "xfs": (("mkfs.xfs", "-q"), 320, ("-o", "loop")),
}
"""Command that makes it, MiB (the least that mkfs.xfs takes), and options of mount."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system of one of `_KINDS`; see `mounted`."""

    kind: str
    folder: Path
    image: Path

    def fill(self, left: int) -> None:
        """Use up the disk but for so many bytes."""
        status = os.statvfs(self.folder)
        size = status.f_bavail * status.f_frsize - left
        if size > 0:
            # ext4 takes some blocks for itself; what it could give to the filler stays there.
            with suppress(OSError), (self.folder / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def fill_inodes(self, left: int) -> None:
        """Use up the inodes but for so many."""
        fillers = self.folder / "fillers"
        fillers.mkdir()
        for number in range(os.statvfs(self.folder).f_favail - left):
            (fillers / f"{number}").touch()

    def make_room(self) -> None:
        """Remove what filled the disk."""
        (self.folder / "filler").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "fillers", ignore_errors=True)

    def sync(self) -> None:
        """Bring everything to the disk."""
        _command("sync", "--file-system", str(self.folder))

    def break_down(self) -> None:
        """Let ext4 find an error: the file system is read-only from now on, also for open files."""
        device = Path(_command("findmnt", "-no", "SOURCE", str(self.folder)).strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def repair(self) -> None:
        """Check the disk, and mount it again; nothing may use it."""
        _command("umount", str(self.folder))
        subprocess.run(["e2fsck", "-fy", str(self.image)], capture_output=True, check=False)
        self.mount()

    def cut_power(self) -> None:
        """Let nothing reach the disk any more: what was only in memory, dirty pages and journal, is lost.

        The file system itself stops in one moment, as fstests lets it; a copy of the image takes time, and
        could hold later writes without earlier ones. The device keeps all that was written to it: disks that
        lose or reorder writes in a cache of theirs are not covered.
        """
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _FS_IOC_SHUTDOWN, _WITHOUT_FLUSH)
        finally:
            os.close(handle)

    def restart(self) -> None:
        """Mount the disk again, which replays its journal; nothing may use it."""
        _command("umount", str(self.folder))
        self.mount()

    def mount(self) -> None:
        """Mount the disk."""
        source = self.kind if self.kind == "tmpfs" else str(self.image)
        _command("mount", *_KINDS[self.kind][2], source, str(self.folder))


@contextmanager
def mounted(folder: Path, kind: str) -> Iterator[Disk]:
    """Mount a new file system below `folder` until the end of the block.

    After an error, what it holds is copied. The test is skipped where this machine or user cannot mount.
    """
    if os.geteuid():
        pytest.skip("only root can mount")
    make, mib, _ = _KINDS[kind]
    disk = Disk(kind, folder / "disk", folder / "disk.img")
    disk.folder.mkdir()
    if make:
        if not shutil.which(make[0]):
            pytest.skip(f"{make[0]} is not installed")
        with disk.image.open("wb") as file:
            file.truncate(mib << 20)
        _command(*make, str(disk.image))
    try:
        disk.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(error.stderr.strip())
    try:
        yield disk
    except Exception:
        disk.make_room()
        shutil.copytree(disk.folder, folder / "left", dirs_exist_ok=True)
        raise
    finally:
        _command("umount", "--lazy", str(disk.folder))  # a run of a failed trial may still use it


def _command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, check=True, text=True).stdout
