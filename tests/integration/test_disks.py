"""A folder's store on disks that are full, or break down."""

from pathlib import Path

import pytest

from bigearthnet.errors import SpaceError, StoreError
from bigearthnet.store import FolderStore
from tests.support.disk import Disk, mounted

pytestmark = pytest.mark.integration


def break_down_in_a_run(store: FolderStore, disk: Disk) -> None:
    with store.lock("a run"), store.stage("file", [], "0" * 64) as staged:
        disk.break_down()
        staged.commit()


def test_a_disk_that_becomes_read_only_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path, "ext4") as disk:
        store = FolderStore(disk.folder / "store")
        with pytest.raises(StoreError, match=r"write .*/file: the file system is read-only"):
            break_down_in_a_run(store, disk)
        for refused in (lambda: store.write("file", b""), lambda: store.delete(["file"])):
            with pytest.raises(StoreError, match="the file system is read-only"):
                refused()


def test_a_full_disk_is_named_by_the_lock(tmp_path: Path) -> None:
    with mounted(tmp_path, "tmpfs") as disk:
        store = FolderStore(disk.folder / "store")
        store.write("file", b"")
        disk.fill(0)
        with pytest.raises(SpaceError, match=r"lock .*/store/.lock: the disk is full"), store.lock("a run"):
            pass


def test_what_a_killed_run_renamed_is_on_the_disk_once_the_next_run_has_the_lock(tmp_path: Path) -> None:
    with mounted(tmp_path, "ext4") as disk:
        store = FolderStore(disk.folder / "store")
        store.write("draft", b"card")
        (store.folder / "draft").rename(store.folder / "card")  # killed before it brought this to the disk
        with store.lock("the next run"):
            pass
        disk.cut_power()
        disk.restart()
        assert store.read("card") == b"card"
