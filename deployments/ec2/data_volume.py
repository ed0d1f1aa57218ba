"""Find the data volume by what it is, make a file system on it only where it is blank, and mount it at /data.

Run as root by provision.sh, with the distribution's Python and nothing else. It formats one disk at most: a
whole disk beside the root disk that is blank. It resizes and unmounts nothing.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LABEL = "bigearthnet"
MOUNT = Path("/data")
FSTAB = Path("/etc/fstab")
_OPTIONS = "defaults,nofail,x-systemd.device-timeout=30s"
_MIB = 1 << 20
_POLL_SECONDS = 5.0
_NOTHING_FOUND = 2
"""Exit status of blkid where a disk has no signature that it knows."""


class VolumeError(Exception):
    """The data volume is not clear; what to do is in the message."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole disk, as lsblk tells of it."""

    path: str
    size: int
    """Bytes."""
    read_only: bool
    parts: int
    """Partitions, and whatever else is built on it."""
    file_system: str
    label: str
    uuid: str
    mounts: tuple[str, ...]
    """Where it, or a part of it, is mounted."""

    @property
    def is_ours(self) -> bool:
        """Whether it has the file system that this program makes."""
        return (self.file_system, self.label, self.parts) == ("ext4", LABEL, 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be done: a disk to mount, one to format before that, or neither; and what is left alone."""

    mount: Disk | None = None
    blank: Disk | None = None
    notes: tuple[str, ...] = ()


def read_disks(listing: str) -> list[Disk]:
    """The disks in what `lsblk --json --bytes --tree` with the columns below says."""
    return [_disk(entry) for entry in json.loads(listing)["blockdevices"] if entry["type"] == "disk"]


def choose(disks: Sequence[Disk], what_is_on: Callable[[Disk], str]) -> Choice:
    """Decide which disk is the data volume.

    Args:
        disks: all disks.
        what_is_on: says what a disk holds that lsblk did not tell of; empty: nothing, it is blank.

    Raises:
        VolumeError: more than one disk could be it, or the root disk is not among them.
    """
    if not any("/" in disk.mounts for disk in disks):
        found = ", ".join(disk.path for disk in disks) or "none"
        raise VolumeError(
            f"expected the root disk among the disks, found {found} without it; "
            f"mount a data volume at {MOUNT} by hand. Nothing was formatted"
        )
    others = [disk for disk in disks if "/" not in disk.mounts and disk.size and not disk.read_only]
    ours = [disk for disk in others if disk.is_ours]
    held = {disk.path: _obvious(disk) or what_is_on(disk) for disk in others if disk not in ours}
    blank = [disk for disk in others if disk not in ours and not held[disk.path]]
    notes = [f"{path} is left alone: it holds {what}" for path, what in held.items() if what]
    if ours:
        notes += [f"{disk.path} is left alone: {ours[0].path} is the data volume" for disk in blank]
        return Choice(mount=_the_one(ours, f"with an ext4 file system of label {LABEL}"), notes=tuple(notes))
    if blank:
        return Choice(blank=_the_one(blank, "that is blank"), notes=tuple(notes))
    return Choice(notes=tuple(notes))


def with_entry(fstab: str, uuid: str) -> str:
    """The text of /etc/fstab with the volume in it.

    Raises:
        VolumeError: something else is to be mounted there.
    """
    for line in fstab.splitlines():
        fields = line.split("#")[0].split()
        if len(fields) > 1 and fields[1] == str(MOUNT):
            if fields[0] == f"UUID={uuid}":
                return fstab
            raise VolumeError(
                f"expected UUID={uuid} at {MOUNT} in {FSTAB}, found {fields[0]}; "
                "take the line out if that volume is gone for good, and run this again"
            )
    end = "" if not fstab or fstab.endswith("\n") else "\n"
    return f"{fstab}{end}UUID={uuid} {MOUNT} ext4 {_OPTIONS} 0 2\n"


def _disk(entry: dict[str, Any]) -> Disk:
    return Disk(
        path=entry["path"],
        size=int(entry["size"]),
        read_only=bool(entry["ro"]),
        parts=len(entry.get("children", [])),
        file_system=entry["fstype"] or "",
        label=entry["label"] or "",
        uuid=entry["uuid"] or "",
        mounts=tuple(_mounts(entry)),
    )


def _mounts(entry: dict[str, Any]) -> Iterator[str]:
    yield from (mount for mount in entry["mountpoints"] if mount)
    for child in entry.get("children", []):
        yield from _mounts(child)


def _obvious(disk: Disk) -> str:
    if disk.parts:
        return "partitions or volumes"
    if disk.file_system:
        return f"{disk.file_system} {disk.label}".strip()
    return f"what is mounted at {disk.mounts[0]}" if disk.mounts else ""


def _the_one(disks: Sequence[Disk], what: str) -> Disk:
    if len(disks) == 1:
        return disks[0]
    paths = ", ".join(disk.path for disk in disks)
    raise VolumeError(
        f"expected one disk {what}, found {len(disks)}: {paths}; detach the others and run this again. "
        "Nothing was formatted"
    )


def what_is_on(disk: Disk) -> str:
    """What a disk holds, asked of wipefs and blkid, and of its first and last MiB; empty: nothing."""
    if signatures := _told(("wipefs", "--no-act", "--noheadings", "--output", "TYPE", disk.path)):
        return f"a signature of {signatures.splitlines()[0]}"
    command = ("blkid", "--probe", disk.path)
    probe = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if probe.returncode != _NOTHING_FOUND:
        return f"what blkid calls: {(probe.stdout or probe.stderr).strip()}"
    with Path(disk.path).open("rb") as device:
        for start in (0, max(0, disk.size - _MIB)):
            device.seek(start)
            if any(device.read(_MIB)):
                return "bytes that are not zero"
    return ""


def _told(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if done.returncode:
        raise VolumeError(
            f"expected `{' '.join(command)}` to work, found status {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout.strip()


def _list_disks() -> list[Disk]:
    columns = "NAME,PATH,TYPE,SIZE,RO,FSTYPE,LABEL,UUID,MOUNTPOINTS"
    _told(("udevadm", "settle"))
    return read_disks(_told(("lsblk", "--json", "--bytes", "--tree", "--output", columns)))


def look(
    seconds: float,
    look_once: Callable[[], Choice],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Choice:
    """What is to be done; a volume that is being attached is waited for.

    Args:
        seconds: how long.
        look_once: decides by the disks that are there now.
        clock: seconds from some moment.
        sleep: waits that many seconds.
    """
    deadline = clock() + seconds
    choice = look_once()
    while not (choice.mount or choice.blank) and clock() < deadline:
        sleep(_POLL_SECONDS)
        choice = look_once()
    return choice


def _format(disk: Disk) -> Disk:
    _say(f"{disk.path} is blank: making an ext4 file system of label {LABEL} on it")
    _told(("mkfs.ext4", "-q", "-m", "0", "-L", LABEL, disk.path))
    (made,) = [one for one in _list_disks() if one.path == disk.path]
    if not made.is_ours:
        raise VolumeError(f"expected an ext4 file system of label {LABEL} on {disk.path}, found {made}")
    return made


def _require_room() -> None:
    """Nothing is to be hidden under the mount."""
    MOUNT.mkdir(exist_ok=True)
    if any(MOUNT.iterdir()):
        raise VolumeError(
            f"expected {MOUNT} to be empty before the data volume is mounted there, found files; "
            f"stop the worker, move them (mv {MOUNT} {MOUNT}.root), and run this again"
        )


def _mount(disk: Disk) -> None:
    if disk.mounts:
        raise VolumeError(
            f"expected {disk.path} (label {LABEL}) at {MOUNT}, found it at {', '.join(disk.mounts)}; "
            "unmount it there and run this again"
        )
    _require_room()
    _enter(disk)
    _told(("systemctl", "daemon-reload"))
    _told(("mount", str(MOUNT)))
    _say(f"{disk.path} is mounted at {MOUNT}")


def _enter(disk: Disk) -> None:
    before = FSTAB.read_text()
    after = with_entry(before, disk.uuid)
    if after != before:
        beside = FSTAB.with_name(f"{FSTAB.name}.bigearthnet")
        beside.write_text(after)
        beside.chmod(FSTAB.stat().st_mode & 0o777)
        beside.replace(FSTAB)


def _say(line: str) -> None:
    sys.stdout.write(f"data volume: {line}\n")
    sys.stdout.flush()


def _ensure(seconds: float) -> None:
    if os.path.ismount(MOUNT):
        _say(f"{MOUNT} is mounted already")
        return
    choice = look(seconds, lambda: choose(_list_disks(), what_is_on))
    for note in choice.notes:
        _say(note)
    disk = _format(choice.blank) if choice.blank else choice.mount
    if disk:
        _mount(disk)
    else:
        _say(f"there is none; {MOUNT} is a folder of the root disk: use transfer 'stream'")


def main() -> None:
    """Have the data volume at /data if there is one; the argument is how many seconds to wait for it."""
    try:
        _ensure(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
    except VolumeError as error:
        sys.exit(f"data volume: {error}")


if __name__ == "__main__":
    main()
