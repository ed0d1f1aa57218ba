import gc
import hashlib
import io
import os
import random
import resource
import shutil
import subprocess
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.errors import DestinationError, SpaceError
from bigearthnet.zips.shard import Shard, ShardWriter

needs_full_disk = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="no /dev/full, a disk always full"
)

MEMBERS = {"a_mask.png": b"\x89PNG one", "b_mask.png": b"", "c_mask.png": bytes(range(256)) * 30}


def write(path: Path, members: dict[str, bytes]) -> Shard:
    with ShardWriter(path) as writer:
        for name in sorted(members):
            writer.add(name, members[name])
    return writer.summary


def test_zipfile_reads_the_members_back_in_order(tmp_path: Path) -> None:
    write(tmp_path / "t.zip", MEMBERS)
    with zipfile.ZipFile(tmp_path / "t.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == MEMBERS
        assert archive.namelist() == sorted(MEMBERS)
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert (info.create_system, info.external_attr >> 16, info.extra) == (3, 0o100644, b"")


@given(st.dictionaries(st.text("abc._09", min_size=1), st.binary(max_size=50), max_size=6))
def test_the_bytes_are_those_that_zipfile_writes(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("shard") / "t.zip"
    write(path, members)
    expected = io.BytesIO()
    with zipfile.ZipFile(expected, "w") as archive:
        for name, data in sorted(members.items()):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            info.create_version, info.extract_version = 45, 10
            archive.writestr(info, data)
    assert path.read_bytes() == expected.getvalue()


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_finds_no_fault_with_more_members_than_a_classic_zip_can_count(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    write(path, {f"{i:06d}.png": b"%d" % i for i in range(65_600)})
    checked = subprocess.run(["unzip", "-tqq", path], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 65_600
        assert archive.read("065599.png") == b"65599"


def test_the_summary_says_what_lies_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    shard = write(path, MEMBERS)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        body = archive.start_dir
    assert shard == Shard(path, len(data), hashlib.sha256(data).hexdigest(), 3, body)


def test_add_gives_the_crc32(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "t.zip") as writer:
        assert writer.add("a", b"123456789") == 0xCBF43926  # the check value of CRC-32


def test_a_memoryview_counts_in_bytes_whatever_its_items(tmp_path: Path) -> None:
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    write(tmp_path / "bytes.zip", {"a": pixels.tobytes()})
    with ShardWriter(tmp_path / "view.zip") as writer:
        assert writer.add("a", pixels.data) == zlib.crc32(pixels.tobytes())
    assert (tmp_path / "view.zip").read_bytes() == (tmp_path / "bytes.zip").read_bytes()


def test_members_larger_than_the_write_buffer_are_whole(tmp_path: Path) -> None:
    members = {f"{i}.png": random.Random(i).randbytes(700_000 * i) for i in range(4)}
    write(tmp_path / "t.zip", members)
    with zipfile.ZipFile(tmp_path / "t.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == members


def test_nothing_is_visible_before_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    with ShardWriter(path) as writer:
        writer.add("a", b"1" * 3_000_000)
        assert not path.exists()
        assert len(list(tmp_path.iterdir())) == 1  # beside its place, in the same folder
        assert list(tmp_path.glob("*.zip")) == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_nothing_is_left_and_the_old_shard_stands(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "t.zip"
    path.write_bytes(b"old")
    writer = ShardWriter(path)
    with pytest.raises(error), writer:  # noqa: PT012
        writer.add("a", b"1" * 3_000_000)
        raise error
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("t.zip", b"old")]
    with pytest.raises(ValueError, match=r"t\.zip to be finished before its summary"):
        _ = writer.summary


def test_what_a_killed_try_left_does_not_show_in_the_next(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    killed = ShardWriter(path).__enter__()
    killed.add("a", b"1" * 3_000_000)
    assert list(tmp_path.iterdir()) != []
    shard = write(path, MEMBERS)
    assert list(tmp_path.iterdir()) == [path]
    assert shard == write(tmp_path / "t.zip", MEMBERS)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == sorted(MEMBERS)


def test_the_whole_shard_is_brought_to_the_disk_before_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.zip"
    synced: list[int] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        assert not path.exists()
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", watched)
    shard = write(path, MEMBERS)
    assert synced == [shard.size]


@pytest.mark.parametrize(("first", "second"), [("b", "a"), ("a", "a"), ("a", "Z"), ("ab", "a")])
def test_names_that_do_not_ascend_are_refused(tmp_path: Path, first: str, second: str) -> None:
    with ShardWriter(tmp_path / "t.zip") as writer:
        writer.add(first, b"1")
        with pytest.raises(
            ValueError, match=rf"t\.zip in ascending order.* found b'{second}' after b'{first}'"
        ):
            writer.add(second, b"2")
    with zipfile.ZipFile(tmp_path / "t.zip") as archive:
        assert archive.namelist() == [first]  # a refused member leaves no trace


@pytest.mark.parametrize("name", ["Zürich.png", ""])
def test_names_that_are_not_ascii_are_refused(tmp_path: Path, name: str) -> None:
    with (
        ShardWriter(tmp_path / "t.zip") as writer,
        pytest.raises(ValueError, match="ASCII characters, found"),
    ):
        writer.add(name, b"1")


def test_a_writer_writes_only_inside_its_block_and_once(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "t.zip")
    with pytest.raises(ValueError, match=r"t\.zip inside the with block"):
        writer.add("a", b"1")
    with writer:
        with pytest.raises(ValueError, match="found one already used"):
            writer.__enter__()
        writer.add("a", b"1")
    with pytest.raises(ValueError, match=r"t\.zip inside the with block"):
        writer.add("b", b"1")
    with pytest.raises(ValueError, match="found one already used"):
        writer.__enter__()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "t.zip"
    with pytest.raises(DestinationError, match=rf"write {path}, found: No such file .*check the folder"):
        write(path, {})


def test_a_folder_in_the_place_of_the_shard_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    path.mkdir()
    with pytest.raises(DestinationError, match=rf"write {path}, found: Is a directory"):
        write(path, MEMBERS)
    assert list(tmp_path.iterdir()) == [path]


@needs_full_disk
@pytest.mark.parametrize("size", [1, 3_000_000], ids=["at the end", "while adding"])
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path, size: int) -> None:
    path = tmp_path / "t.zip"
    (tmp_path / ".t.zip.part").symlink_to("/dev/full")
    with pytest.raises(SpaceError, match=rf"room for {path}, found .*No space left.*; free some space"):
        write(path, {"a": b"1" * size})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_that_was_swallowed_does_not_become_a_shard(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(ValueError, match="closed file"), ShardWriter(path) as writer:  # noqa: PT012
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            with pytest.raises(DestinationError, match=rf"write {path}, found: File too large"):
                writer.add("a", b"1" * 3_000_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)  # from here on writing would succeed again
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_closed_after_an_exception(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(RuntimeError), ShardWriter(tmp_path / "t.zip") as writer:
            writer.add("a", b"1")
            raise RuntimeError
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
