"""The records of a zip whose members are stored, as bytes: written the same everywhere, and read back.

Source: APPNOTE.TXT 6.3.10, the .ZIP File Format Specification (PKWARE); sections are named where used.
Everything that could differ between machines is fixed: date, attributes, versions. A local header does
not depend on where the member lies, so members can be moved to another place without a change.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from bigearthnet.errors import ArchiveError

LIMIT_32: Final = 0xFFFF_FFFF
"""First value that a field of 4 bytes cannot hold: there it means 'look in the zip64 record' (4.4.1.4)."""
LIMIT_16: Final = 0xFFFF
"""The same for a field of 2 bytes."""

_VERSION: Final = 10  # to extract a plain stored member (4.4.3.2)
_VERSION_ZIP64: Final = 45  # to extract one with a zip64 extra, and the version this module knows
_MADE_BY: Final = 3 << 8 | _VERSION_ZIP64  # host system 3 is Unix (4.4.2)
_TIME: Final = 0  # 00:00:00 (4.4.6)
_DATE: Final = 0 << 9 | 1 << 5 | 1  # years since 1980, month, day (4.4.6)
_ATTRIBUTES: Final = 0o100644 << 16  # a regular file, rw-r--r-- (4.4.15)

_LOCAL: Final = struct.Struct("<4s5H3L2H")  # 4.3.7
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_EXTRA_ZIP64: Final = struct.Struct("<2HQ")  # 4.5.3, with the offset alone
_END_ZIP64: Final = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR: Final = struct.Struct("<4sLQL")  # 4.3.15
_END: Final = struct.Struct("<4s4H2LH")  # 4.3.16

# What reading needs of them: the rest is compared with what this module would write.
_CENTRAL_SIZES: Final = struct.Struct("<16x2L4x2H10xL")
_END_ZIP64_SIZES: Final = struct.Struct("<32x3Q")
_END_SIZES: Final = struct.Struct("<10xH2L2x")

LOCAL_BYTES: Final = _LOCAL.size
"""Bytes of a local header before the member's name."""
EXTRA_BYTES: Final = _EXTRA_ZIP64.size
"""Bytes a central entry takes more when its offset needs zip64."""
TAIL_BYTES: Final = _END_ZIP64.size + _LOCATOR.size + _END.size
"""Bytes at the end of a zip that hold all its end records."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as the central directory names it.

    `size` is in bytes, `offset` is that of its local header in the zip.
    """

    name: bytes
    size: int
    crc32: int
    offset: int


@dataclass(frozen=True, slots=True)
class Tail:
    """What the end records say: how many members, and where the central directory lies, in bytes."""

    count: int
    central_offset: int
    central_size: int


def local_header(name: bytes, size: int, crc32: int) -> bytes:
    """Make what stands before a member's bytes (4.3.7).

    Raises:
        ValueError: the name is empty, too long or not ASCII, or the member has 4 GiB or more.
    """
    _check(name, size)
    fixed = _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, _TIME, _DATE, crc32, size, size, len(name), 0)
    return fixed + name


def central_entry(name: bytes, size: int, crc32: int, offset: int) -> bytes:
    """Make a member's entry in the central directory (4.3.12), with a zip64 extra if its offset needs it.

    Raises:
        ValueError: the name is empty, too long or not ASCII, or the member has 4 GiB or more.
    """
    _check(name, size)
    version, extra = _VERSION, b""
    if offset >= LIMIT_32:
        version, extra = _VERSION_ZIP64, _EXTRA_ZIP64.pack(1, 8, offset)
        offset = LIMIT_32
    fixed = _CENTRAL.pack(
        *(b"PK\1\2", _MADE_BY, version, 0, 0, _TIME, _DATE, crc32, size, size),
        *(len(name), len(extra), 0, 0, 0, _ATTRIBUTES, offset),
    )
    return fixed + name + extra


def end_records(count: int, central_size: int, central_offset: int) -> bytes:
    """Make what stands after the central directory (4.3.14 to 4.3.16), with zip64 where it is needed.

    Args:
        count: members.
        central_size: bytes of the central directory.
        central_offset: bytes before it.
    """
    zip64 = b""
    if count >= LIMIT_16 or central_size >= LIMIT_32 or central_offset >= LIMIT_32:
        rest = _END_ZIP64.size - 12  # its size field leaves out itself and the signature (4.3.14.1)
        zip64 = _END_ZIP64.pack(
            *(b"PK\6\6", rest, _MADE_BY, _VERSION_ZIP64, 0, 0, count, count, central_size, central_offset)
        ) + _LOCATOR.pack(b"PK\6\7", 0, central_offset + central_size, 1)
    count = min(count, LIMIT_16)
    return zip64 + _END.pack(
        *(b"PK\5\6", 0, 0, count, count, min(central_size, LIMIT_32), min(central_offset, LIMIT_32), 0)
    )


def iter_central(data: bytes, source: str | Path = "a zip") -> Iterator[Entry]:
    """Read a central directory that this module wrote.

    Args:
        data: the whole central directory, without the end records.
        source: the zip it comes from, for messages.

    Raises:
        ArchiveError: some entry is not what this module would write.
    """
    position = 0
    while position < len(data):
        try:
            crc32, size, name_bytes, extra_bytes, offset = _CENTRAL_SIZES.unpack_from(data, position)
            extra_at = position + _CENTRAL.size + name_bytes
            if extra_bytes:
                offset = _EXTRA_ZIP64.unpack_from(data, extra_at)[2]
            entry = Entry(data[position + _CENTRAL.size : extra_at], size, crc32, offset)
            again = central_entry(entry.name, size, crc32, offset)
        except (struct.error, ValueError) as error:
            raise _foreign(source, f"no whole entry at byte {position} of its central directory") from error
        if not data.startswith(again, position):
            raise _foreign(source, f"another kind of entry at byte {position} of its central directory")
        yield entry
        position += len(again)


def parse_tail(data: bytes, size: int, source: str | Path = "a zip") -> Tail:
    """Read the end records of a zip that this module wrote.

    Args:
        data: the last `TAIL_BYTES` of the zip, or all of it if it is shorter.
        size: bytes of the whole zip.
        source: the zip, for messages.

    Raises:
        ArchiveError: the zip does not end with what this module would write, so it may be cut off.
    """
    try:
        count, central_size, central_offset = _END_SIZES.unpack(data[-_END.size :])
        if count == LIMIT_16 or LIMIT_32 in (central_size, central_offset):
            count, central_size, central_offset = _END_ZIP64_SIZES.unpack_from(data, len(data) - TAIL_BYTES)
        expected = end_records(count, central_size, central_offset)
    except struct.error as error:
        raise _foreign(source, f"{size} bytes without whole end records") from error
    if not data.endswith(expected) or central_offset + central_size + len(expected) != size:
        raise _foreign(source, f"other end records at the end of its {size} bytes")
    return Tail(count, central_offset, central_size)


def read_tail(file: BinaryIO) -> Tail:
    """Read the end records of a zip that this module wrote, from a file open for reading.

    Raises:
        ArchiveError: the zip does not end with what this module would write, so it may be cut off.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - TAIL_BYTES))
    return parse_tail(file.read(TAIL_BYTES), size, getattr(file, "name", "a zip"))


def _check(name: bytes, size: int) -> None:
    if not (name.isascii() and 0 < len(name) <= LIMIT_16):
        raise ValueError(f"expected a member name of 1 to {LIMIT_16} ASCII characters, found {name[:80]!r}")
    if size >= LIMIT_32:
        raise ValueError(f"expected a member below {LIMIT_32} bytes, found {size} for {name!r}")


def _foreign(source: str | Path, found: str) -> ArchiveError:
    return ArchiveError(
        f"expected a zip of stored members as this project writes it, found {found} in {source}; "
        "delete it and run again: it is made anew"
    )
