import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.errors import ArchiveError
from bigearthnet.zips.format import (
    Entry,
    Tail,
    central_entry,
    end_records,
    iter_central,
    local_header,
    parse_tail,
    read_tail,
)

NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="/\\"), min_size=1)
MEMBERS = st.dictionaries(NAMES, st.binary(max_size=80), max_size=8)
ENTRIES = st.lists(
    st.builds(
        Entry,
        name=NAMES.map(str.encode),
        size=st.integers(0, 2**32 - 2),
        crc32=st.integers(0, 2**32 - 1),
        offset=st.one_of(st.integers(0, 2**32 + 2), st.integers(2**32 - 3, 2**63)),
    ),
    max_size=6,
)


def by_zipfile(members: dict[str, bytes]) -> bytes:
    """The same zip written by Python's own zipfile, told the same versions."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            info.create_version, info.extract_version = 45, 10
            archive.writestr(info, data)
    return target.getvalue()


def by_records(members: dict[str, bytes]) -> bytes:
    body, central = bytearray(), bytearray()
    for name, data in members.items():
        what = (name.encode(), len(data), zlib.crc32(data))
        central += central_entry(*what, len(body))
        body += local_header(*what) + data
    return bytes(body + central) + end_records(len(members), len(central), len(body))


def central_entry_at_0(name: bytes, size: int, crc32: int) -> bytes:
    return central_entry(name, size, crc32, 0)


def directory(entries: list[Entry]) -> bytes:
    return b"".join(central_entry(e.name, e.size, e.crc32, e.offset) for e in entries)


@given(MEMBERS)
def test_records_are_those_that_zipfile_writes(members: dict[str, bytes]) -> None:
    assert by_records(members) == by_zipfile(members)


def test_an_offset_of_4_gib_goes_into_a_zip64_extra() -> None:
    below, at = (central_entry(b"a.png", 7, 9, 0xFFFF_FFFF + more) for more in (-1, 0))
    assert len(below) == 46 + 5
    assert below[42:46] == b"\xfe\xff\xff\xff"
    assert below[6:8] == b"\x0a\0"
    assert at[42:46] == b"\xff\xff\xff\xff"
    assert at[6:8] == b"\x2d\0"  # 4.5 is needed to extract
    assert at[30:32] == b"\x0c\0"
    assert at[51:] == b"\x01\0\x08\0" + b"\xff\xff\xff\xff\0\0\0\0"


@pytest.mark.parametrize(
    ("count", "size", "offset"),
    [(0xFFFF, 5, 6), (1, 0xFFFF_FFFF, 6), (1, 5, 0xFFFF_FFFF), (549_488, 6, 5 << 32)],
)
def test_end_records_use_zip64_from_the_limits_on(count: int, size: int, offset: int) -> None:
    records = end_records(count, size, offset)
    assert len(records) == 56 + 20 + 22
    signature, rest, _, needed, _, _, *numbers = struct.unpack("<4sQHHIIQQQQ", records[:56])
    assert (signature, rest, needed, numbers) == (b"PK\6\6", 44, 45, [count, count, size, offset])
    assert struct.unpack("<4sIQI", records[56:76]) == (b"PK\6\7", 0, offset + size, 1)
    clipped = (min(count, 0xFFFF),) * 2 + (min(size, 0xFFFF_FFFF), min(offset, 0xFFFF_FFFF))
    assert struct.unpack("<4s4H2IH", records[76:]) == (b"PK\5\6", 0, 0, *clipped, 0)


def test_end_records_are_classic_below_the_limits() -> None:
    records = end_records(0xFFFE, 0xFFFF_FFFE, 0xFFFF_FFFE)
    assert struct.unpack("<4s4H2IH", records) == (
        *(b"PK\5\6", 0, 0, 0xFFFE, 0xFFFE, 0xFFFF_FFFE, 0xFFFF_FFFE, 0),
    )


@pytest.mark.parametrize("make", [local_header, central_entry_at_0])
@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("Zürich.png".encode(), 1, "ASCII characters, found b'Z"),
        (b"", 1, "ASCII characters, found b''"),
        (b"n" * 65536, 1, "1 to 65535 ASCII"),
        (b"a.png", 0xFFFF_FFFF, "below 4294967295 bytes, found 4294967295 for b'a.png'"),
    ],
)
def test_a_member_that_the_records_cannot_hold_is_refused(
    make: Callable[[bytes, int, int], bytes], name: bytes, size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, size, 0)


@given(ENTRIES)
def test_a_central_directory_is_read_back(entries: list[Entry]) -> None:
    assert list(iter_central(directory(entries))) == entries


@given(ENTRIES.filter(bool), st.data())
def test_a_changed_byte_is_never_read_as_the_same_directory(
    entries: list[Entry], data: st.DataObject
) -> None:
    central = bytearray(directory(entries))
    position = data.draw(st.integers(0, len(central) - 1))
    central[position] ^= data.draw(st.integers(1, 255))
    with suppress(ArchiveError):
        assert list(iter_central(bytes(central))) != entries


@given(ENTRIES.filter(bool), st.data())
def test_a_directory_that_is_cut_off_is_refused(entries: list[Entry], data: st.DataObject) -> None:
    central = directory(entries)
    ends = {len(directory(entries[:n])) for n in range(len(entries) + 1)}
    length = data.draw(st.integers(0, len(central)).filter(lambda n: n not in ends))
    with pytest.raises(
        ArchiveError, match=r"entry at byte \d+ of its central directory in T33UUP\.zip; delete it"
    ):
        list(iter_central(central[:length], "T33UUP.zip"))


@pytest.mark.parametrize("field", [{"comment": b"c"}, {"extra": b"\1\2\0\0"}, {"create_system": 0}])
def test_an_entry_of_another_hand_is_refused(field: dict[str, object]) -> None:
    info = zipfile.ZipInfo("a.png", date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o100644 << 16
    info.create_version, info.extract_version = 45, 10
    for name, value in field.items():
        setattr(info, name, value)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(info, b"data")
    with pytest.raises(ArchiveError, match=r"entry at byte 0 of its central directory in x\.zip"):
        list(iter_central(target.getvalue()[archive.start_dir : -22], "x.zip"))


@given(st.integers(0, 2**40), st.integers(0, 2**33), st.integers(0, 2**40))
def test_end_records_are_read_back(count: int, size: int, offset: int) -> None:
    records = end_records(count, size, offset)
    before = b"\0" * 98  # what a real zip has there: members and the central directory
    tail = parse_tail((before + records)[-98:], offset + size + len(records))
    assert tail == Tail(count, offset, size)


def test_the_tail_of_a_file_is_that_which_zipfile_finds(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    path.write_bytes(by_zipfile({"a.png": b"123", "b.png": b""}))
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        tail = read_tail(file)
        assert (tail.count, tail.central_offset) == (2, archive.start_dir)
        assert tail.central_offset + tail.central_size == path.stat().st_size - 22


@pytest.mark.parametrize("members", [0, 3, 65_535], ids=["empty", "classic", "zip64"])
def test_a_zip_cut_off_anywhere_or_prolonged_is_refused(members: int) -> None:
    whole = by_records({f"{i:05d}": b"" for i in range(members)}) + b"\0"
    for size in range(max(0, len(whole) - 150), len(whole) + 1):
        if size != len(whole) - 1:
            with pytest.raises(ArchiveError, match=r"end.* in t\.zip; delete it"):
                parse_tail(whole[max(0, size - 98) : size], size, "t.zip")


@pytest.mark.parametrize("members", [3, 65_535], ids=["classic", "zip64"])
def test_a_changed_byte_is_never_read_as_the_same_tail(members: int) -> None:
    whole = by_records({f"{i:05d}": b"" for i in range(members)})
    tail = parse_tail(whole[-98:], len(whole))
    records = 22 if members == 3 else 98
    for position in range(98 - records, 98):
        changed = bytearray(whole[-98:])
        changed[position] ^= 0x41
        with suppress(ArchiveError):
            assert parse_tail(bytes(changed), len(whole)) != tail


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    path.write_bytes(by_records({"a.png": b"123"})[:-1])
    with path.open("rb") as file, pytest.raises(ArchiveError, match=f"end.* in {path}; delete it"):
        read_tail(file)


def test_a_zip_that_lost_bytes_of_its_middle_is_refused() -> None:
    whole = by_zipfile({"a.png": b"123", "b.png": b"456"})
    short = whole[:20] + whole[30:]
    with pytest.raises(ArchiveError, match=f"other end records at the end of its {len(short)} bytes"):
        parse_tail(short[-98:], len(short))


def test_end_records_that_promise_more_than_any_zip_holds_are_refused() -> None:
    whole = end_records(70_000, 2**63, 2**63 - 1)
    broken = whole[:48] + b"\xff" * 8 + whole[56:]  # the offset of the zip64 record
    with pytest.raises(ArchiveError, match="98 bytes without whole end records"):
        parse_tail(broken, 98)
