"""Shards, and the zips that they are joined to, compared with Python's zipfile and with unzip."""

import io
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.errors import SpaceError, StoreError
from bigearthnet.zips.format import central_entry, end_records, local_header
from bigearthnet.zips.join import CentralDirectory, data_offsets
from bigearthnet.zips.shard import ShardWriter

GIB = 1 << 30
Members = dict[str, bytes]


@st.composite
def shards_of_members(draw: st.DrawFn) -> list[Members]:
    """Members in ascending order, cut into shards at random places; some shards are empty."""
    members = draw(st.dictionaries(st.text("abc._09", min_size=1), st.binary(max_size=50), max_size=12))
    names = sorted(members)
    cuts = sorted(draw(st.lists(st.integers(0, len(names)), max_size=6)))
    ends = zip([0, *cuts], [*cuts, len(names)], strict=True)
    return [{name: members[name] for name in names[start:end]} for start, end in ends]


def by_zipfile(members: Members) -> bytes:
    """The zip as Python writes it, given the same versions, date and attributes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=(2024, 1, 1, 12, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            info.create_version, info.extract_version = 45, 10
            archive.writestr(info, data)
    return target.getvalue()


def write(path: Path, members: Members) -> list[tuple[bytes, int, int]]:
    """Write a shard; returns name, size and CRC-32 of its members."""
    with ShardWriter(path) as writer:
        return [(name.encode(), len(data), writer.add(name, data)) for name, data in members.items()]


def join(folder: Path, shards: list[Members]) -> bytes:
    directory, body, entries = CentralDirectory(), b"", b""
    for members in shards:
        listed = write(folder / "shard", members)
        start = directory.offset
        entries += directory.add(listed)
        body += (folder / "shard").read_bytes()
        assert directory.offset == len(body)
        offsets = data_offsets([len(name) for name, _, _ in listed], [size for _, size, _ in listed], start)
        found = [body[at : at + size] for at, (_, size, _) in zip(offsets.tolist(), listed, strict=True)]
        assert found == list(members.values())
    return body + entries + directory.end()


def unzip(*arguments: str | Path) -> bytes:
    done = subprocess.run(["unzip", *arguments], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@settings(deadline=None, max_examples=60)
@given(shards_of_members())
def test_joined_shards_are_the_zip_that_zipfile_writes(
    tmp_path_factory: pytest.TempPathFactory, shards: list[Members]
) -> None:
    everything = {name: data for members in shards for name, data in members.items()}
    assert join(tmp_path_factory.mktemp("join"), shards) == by_zipfile(everything)


def test_unzip_accepts_more_members_than_fit_into_16_bits(tmp_path: Path) -> None:
    shards = [{f"{s}/{i:05d}.png": b"%d" % i for i in range(22_000)} for s in range(3)]
    (tmp_path / "joined.zip").write_bytes(join(tmp_path, shards))
    assert unzip("-tqq", tmp_path / "joined.zip") == b""
    with zipfile.ZipFile(tmp_path / "joined.zip") as archive:
        assert len(archive.namelist()) == 66_000
        assert archive.read("2/21999.png") == b"21999"


def test_members_beyond_4_gib_are_read_from_a_sparse_file(tmp_path: Path) -> None:
    holes = [(b"0/a.png", 3 * GIB, 1), (b"0/b.png", 3 * GIB, 2)]  # their CRC-32 is never compared
    last = {"1/a.png": b"first beyond", "1/b.png": b"second beyond"}
    directory, joined = CentralDirectory(), tmp_path / "joined.zip"
    entries = directory.add(holes)
    with joined.open("wb") as file:
        for offset, hole in zip((0, 30 + 7 + 3 * GIB), holes, strict=True):
            file.seek(offset)
            file.write(local_header(*hole))
        file.seek(directory.offset)
        entries += directory.add(write(tmp_path / "shard", last))
        file.write((tmp_path / "shard").read_bytes() + entries + directory.end())
    assert joined.stat().st_size > 6 * GIB
    with zipfile.ZipFile(joined) as archive:
        assert archive.namelist() == ["0/a.png", "0/b.png", *last]
        assert {name: archive.read(name) for name in last} == last
    assert unzip("-p", joined, "1/b.png") == b"second beyond"
    assert data_offsets([7, 7, 7], [3 * GIB, 3 * GIB, 1], 5).tolist()[2] == 5 + 3 * 37 + 6 * GIB


def test_an_offset_of_4_gib_goes_into_a_zip64_extra() -> None:
    below, at = (central_entry(b"a.png", 7, 9, 0xFFFF_FFFF + more) for more in (-1, 0))
    assert (len(below), below[6:8], below[42:46]) == (46 + 5, b"\x0a\0", b"\xfe\xff\xff\xff")
    assert (at[6:8], at[30:32], at[42:46]) == (b"\x2d\0", b"\x0c\0", b"\xff\xff\xff\xff")
    assert at[51:] == b"\x01\0\x08\0" + b"\xff\xff\xff\xff\0\0\0\0"


@pytest.mark.parametrize(
    ("count", "size", "offset"),
    [(0xFFFF, 5, 6), (1, 0xFFFF_FFFF, 6), (1, 5, 0xFFFF_FFFF), (0xFFFE, 0xFFFF_FFFE, 0xFFFF_FFFE)],
)
def test_end_records_have_zip64_from_the_limits_on(count: int, size: int, offset: int) -> None:
    records = end_records(count, size, offset)
    clipped = (min(count, 0xFFFF),) * 2 + (min(size, 0xFFFF_FFFF), min(offset, 0xFFFF_FFFF))
    assert struct.unpack("<4s4H2IH", records[-22:]) == (b"PK\5\6", 0, 0, *clipped, 0)
    if count == 0xFFFE:
        assert len(records) == 22
    else:
        numbers = (44, 3 << 8 | 45, 45, 0, 0, count, count, size, offset)
        assert struct.unpack("<4sQHHIIQQQQ", records[:56]) == (b"PK\6\6", *numbers)
        assert struct.unpack("<4sIQI", records[56:-22]) == (b"PK\6\7", 0, offset + size, 1)


@pytest.mark.parametrize("make", [local_header, lambda *member: central_entry(*member, 0)])
@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("Zürich.png".encode(), 1, "ASCII characters, not b'Z"),
        (b"", 1, "1 to 65535 ASCII characters, not b''"),
        (b"n" * 65536, 1, "1 to 65535 ASCII"),
        (b"a.png", 0xFFFF_FFFF, "smaller than 4294967295 bytes, b'a.png' has 4294967295"),
    ],
)
def test_a_member_that_no_record_can_hold_is_refused(
    make: Callable[[bytes, int, int], bytes], name: bytes, size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, size, 0)
    assert make(b"n" * 65535, 0xFFFF_FFFE, 0)


@pytest.mark.parametrize(("first", "second"), [("b", "a"), ("a", "a"), ("a", "Z"), ("ab", "a")])
def test_names_must_ascend(first: str, second: str) -> None:
    directory = CentralDirectory()
    directory.add([(first.encode(), 1, 1)])
    with pytest.raises(ValueError, match=rf"ascending order: b'{second}' came after b'{first}'"):
        directory.add([(second.encode(), 1, 1)])


@pytest.mark.parametrize("size", [1, 3_000_000], ids=["at the end", "while adding"])
def test_a_full_disk_is_named(tmp_path: Path, size: int) -> None:
    (tmp_path / "shard").symlink_to("/dev/full")
    with pytest.raises(SpaceError, match=rf"cannot write {tmp_path}/shard: the disk is full"):
        write(tmp_path / "shard", {"a": b"1" * size})


def test_a_folder_that_is_not_there_and_a_folder_in_the_way_are_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}/no/shard: No such file"):
        write(tmp_path / "no" / "shard", {})
    with pytest.raises(StoreError, match=f"cannot write {tmp_path}: there is a folder"):
        write(tmp_path, {})
