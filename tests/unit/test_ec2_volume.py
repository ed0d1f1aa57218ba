"""Which disk is the data volume: decided from what lsblk says, and asked of disks that are files here."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployments.ec2 import data_volume
from deployments.ec2.data_volume import (
    Choice,
    Disk,
    VolumeError,
    choose,
    look,
    read_disks,
    what_is_on,
    with_entry,
)

MIB = 1 << 20
GIB = 1 << 30


def entry(path: str, **changes: Any) -> dict[str, Any]:
    """A device as lsblk lists it: a blank disk unless changed."""
    blank = {
        "name": Path(path).name,
        "path": path,
        "type": "disk",
        "size": 250 * GIB,
        "ro": False,
        "fstype": None,
        "label": None,
        "uuid": None,
        "mountpoints": [None],
    }
    return blank | changes


ROOT_PART = entry("/dev/xvda1", type="part", fstype="ext4", label="cloudimg-rootfs", mountpoints=["/"])
ROOT = entry("/dev/xvda", size=8 * GIB, children=[ROOT_PART])
SNAP = entry("/dev/loop0", type="loop", fstype="squashfs", mountpoints=["/snap/core22/1"])
OURS = {"fstype": "ext4", "label": "bigearthnet", "uuid": "b1a9"}


def listing(*entries: dict[str, Any]) -> list[Disk]:
    return read_disks(json.dumps({"blockdevices": [SNAP, ROOT, *entries]}))


def blank(disk: Disk) -> str:
    assert disk.path != "/dev/xvda", "the root disk is not even looked at"
    return ""


def paths(choice: Choice) -> tuple[str | None, str | None]:
    """What is mounted, and what is formatted before."""
    return (
        choice.mount.path if choice.mount else None,
        choice.blank.path if choice.blank else None,
    )


@pytest.mark.parametrize("path", ["/dev/xvdf", "/dev/nvme1n1", "/dev/sdb"])
def test_the_one_blank_disk_is_formatted_whatever_its_name(path: str) -> None:
    assert paths(choose(listing(entry(path)), blank)) == (None, path)


def test_without_another_disk_there_is_no_data_volume() -> None:
    assert choose(listing(), blank) == Choice()


def test_the_disk_of_an_earlier_time_is_mounted_and_a_blank_one_beside_it_left_alone() -> None:
    choice = choose(listing(entry("/dev/xvdf"), entry("/dev/xvdg", **OURS)), blank)
    assert paths(choice) == ("/dev/xvdg", None)
    assert choice.notes == ("/dev/xvdf is left alone: /dev/xvdg is the data volume",)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"fstype": "xfs", "label": "photos"}, "xfs photos"),
        ({"fstype": "ext4", "label": "photos"}, "ext4 photos"),
        ({"fstype": "xfs", "label": "bigearthnet"}, "xfs bigearthnet"),
        ({"fstype": "LVM2_member"}, "LVM2_member"),
        ({"children": [entry("/dev/xvdf1", type="part")]}, "partitions or volumes"),
        ({"children": [entry("/dev/mapper/vg-data", type="lvm")]}, "partitions or volumes"),
        ({"mountpoints": ["[SWAP]"]}, "what is mounted at [SWAP]"),
    ],
)
def test_a_disk_that_holds_something_is_left_alone_with_a_message(changes: dict[str, Any], what: str) -> None:
    choice = choose(listing(entry("/dev/xvdf", **changes)), blank)
    assert paths(choice) == (None, None)
    assert choice.notes == (f"/dev/xvdf is left alone: it holds {what}",)


def test_a_disk_on_which_probing_finds_something_is_left_alone() -> None:
    choice = choose(listing(entry("/dev/xvdf")), lambda _disk: "bytes that are not zero")
    assert paths(choice) == (None, None)
    assert choice.notes == ("/dev/xvdf is left alone: it holds bytes that are not zero",)


@pytest.mark.parametrize("changes", [{"ro": True}, {"size": 0}, {"type": "rom"}, {"type": "loop"}])
def test_what_cannot_be_a_data_volume_is_not_looked_at(changes: dict[str, Any]) -> None:
    assert choose(listing(entry("/dev/xvdf", **changes)), blank) == Choice()


def test_two_blank_disks_are_refused() -> None:
    with pytest.raises(
        VolumeError, match=r"expected one disk that is blank, found 2: /dev/xvdf, /dev/xvdg; detach"
    ):
        choose(listing(entry("/dev/xvdf"), entry("/dev/xvdg")), blank)


def test_two_disks_of_earlier_times_are_refused() -> None:
    with pytest.raises(
        VolumeError, match=r"label bigearthnet, found 2: /dev/xvdf, /dev/xvdg; detach the others"
    ):
        choose(listing(entry("/dev/xvdf", **OURS), entry("/dev/xvdg", **OURS)), blank)


def test_a_listing_without_the_root_disk_is_refused() -> None:
    flat = [entry("/dev/xvda", size=8 * GIB), entry("/dev/xvdf")]  # as lsblk says it without --tree
    with pytest.raises(
        VolumeError, match=r"expected the root disk among the disks, found /dev/xvda, /dev/xvdf"
    ):
        choose(read_disks(json.dumps({"blockdevices": flat})), blank)


def test_a_root_disk_behind_lvm_is_known() -> None:
    volume = entry("/dev/mapper/vg-root", type="lvm", mountpoints=["/"])
    part = entry("/dev/sda2", type="part", fstype="LVM2_member", children=[volume])
    root = entry("/dev/sda", children=[part])
    assert choose(read_disks(json.dumps({"blockdevices": [root]})), blank) == Choice()


def test_a_volume_that_is_being_attached_is_waited_for() -> None:
    there = choose(listing(entry("/dev/xvdf")), blank)
    seen, waits = iter([Choice(), Choice(), there]), list[float]()
    assert look(600, lambda: next(seen), clock=lambda: sum(waits), sleep=waits.append) is there
    assert len(waits) == 2


@pytest.mark.parametrize(("seconds", "polls"), [(0, 1), (20, 5)])
def test_a_volume_that_does_not_come_is_waited_for_no_longer_than_asked(seconds: float, polls: int) -> None:
    looks, waits = [], list[float]()

    def none() -> Choice:
        looks.append(1)
        return Choice()

    assert look(seconds, none, clock=lambda: sum(waits), sleep=waits.append) == Choice()
    assert (len(looks), sum(waits)) == (polls, seconds)


needs_tools = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("wipefs", "blkid", "mkfs.ext4")),
    reason="needs wipefs, blkid and mkfs.ext4",
)


def image(folder: Path, size: int = 16 * MIB) -> Disk:
    path = folder / "disk.img"
    path.touch()
    os.truncate(path, size)
    (disk,) = read_disks(json.dumps({"blockdevices": [entry(str(path), size=size)]}))
    return disk


@needs_tools
def test_a_disk_of_zeros_is_blank(tmp_path: Path) -> None:
    assert what_is_on(image(tmp_path)) == ""


@needs_tools
@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("mkfs.ext4", "-q"), "a signature of ext4"),
        (("mkswap",), "a signature of swap"),
    ],
)
def test_a_disk_with_a_signature_says_so(tmp_path: Path, command: tuple[str, ...], what: str) -> None:
    disk = image(tmp_path)
    subprocess.run((*command, disk.path), check=True, capture_output=True)
    assert what_is_on(disk) == what


@needs_tools
@pytest.mark.parametrize("place", [0, MIB - 1, 15 * MIB, 16 * MIB - 1])
def test_a_disk_with_one_byte_of_something_is_not_blank(tmp_path: Path, place: int) -> None:
    disk = image(tmp_path)
    with Path(disk.path).open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert what_is_on(disk) == "bytes that are not zero"


def test_the_volume_is_entered_once_by_its_uuid_and_does_not_stop_a_boot() -> None:
    before = "LABEL=cloudimg-rootfs / ext4 defaults 0 1"
    after = with_entry(before, "b1a9")
    assert after.splitlines()[0] == before
    device, mount, kind, options, dump, check = after.splitlines()[1].split()
    assert (device, mount, kind, dump, check) == ("UUID=b1a9", "/data", "ext4", "0", "2")
    assert "nofail" in options.split(",")
    assert with_entry(after, "b1a9") == after


def test_another_volume_in_fstab_is_not_replaced() -> None:
    fstab = "# UUID=0 /data ext4 is only a comment\nUUID=0dd /data xfs defaults 0 2\n"
    with pytest.raises(
        VolumeError, match=r"expected UUID=b1a9 at /data in /etc/fstab, found UUID=0dd; take the"
    ):
        with_entry(fstab, "b1a9")


def test_files_are_not_hidden_under_the_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_volume, "MOUNT", tmp_path)
    (tmp_path / "dataset").mkdir()
    with pytest.raises(
        VolumeError, match=r"to be empty before the data volume is mounted there, found files"
    ):
        data_volume._require_room()


def test_a_volume_that_is_mounted_elsewhere_stays_there() -> None:
    (disk,) = [
        d for d in listing(entry("/dev/xvdf", **OURS, mountpoints=["/mnt/old"])) if d.path == "/dev/xvdf"
    ]
    with pytest.raises(
        VolumeError, match=r"/dev/xvdf \(label bigearthnet\) at /data, found it at /mnt/old; unmount"
    ):
        data_volume._mount(disk)
