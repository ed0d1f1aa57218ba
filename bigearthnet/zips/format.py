"""The records of a zip whose members are stored, as bytes: the same on every machine.

Source: APPNOTE.TXT 6.3.10, the .ZIP File Format Specification (PKWARE); sections are named where used. Date,
attributes and versions are fixed. A local header does not depend on the member's offset, so members can be
moved without a change.
"""

import struct
from typing import Final

LIMIT_16: Final = 0xFFFF
LIMIT_32: Final = 0xFFFF_FFFF
"""First values that fields of 2 and 4 bytes cannot hold: they mean "see the zip64 record" (4.4.1.4)."""

_VERSION: Final = 10  # to extract a stored member (4.4.3.2)
_VERSION_ZIP64: Final = 45
_MADE_BY: Final = 3 << 8 | _VERSION_ZIP64  # host system 3 is Unix (4.4.2)
# Noon of a fixed day (4.4.6). 1980-01-01, the first that a zip can hold, becomes 1979 in eastern time zones,
# and such files cannot be zipped again. The members of the archives of BigEarthNet v2 have this date.
_TIME: Final = 12 << 11
_DATE: Final = (2024 - 1980) << 9 | 1 << 5 | 1
_ATTRIBUTES: Final = 0o100644 << 16  # a regular file, rw-r--r-- (4.4.15)

_LOCAL: Final = struct.Struct("<4s5H3L2H")  # 4.3.7
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_EXTRA_ZIP64: Final = struct.Struct("<2HQ")  # 4.5.3, with the offset alone
_END_ZIP64: Final = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR: Final = struct.Struct("<4sLQL")  # 4.3.15
_END: Final = struct.Struct("<4s4H2LH")  # 4.3.16

LOCAL_BYTES: Final = _LOCAL.size
"""Bytes of a local header before the member's name."""


def local_header(name: bytes, size: int, crc32: int) -> bytes:
    """Return the bytes before a member's data (4.3.7).

    Raises:
        ValueError: the name is empty, too long or not ASCII, or the member has 4 GiB or more.
    """
    _check(name, size)
    return _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, _TIME, _DATE, crc32, size, size, len(name), 0) + name


def central_entry(name: bytes, size: int, crc32: int, offset: int) -> bytes:
    """Return a member's entry in the central directory (4.3.12)."""
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
    """Return the bytes after a central directory of `count` members (4.3.14 to 4.3.16)."""
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


def _check(name: bytes, size: int) -> None:
    if not (name.isascii() and 0 < len(name) <= LIMIT_16):
        raise ValueError(f"a member's name must have 1 to {LIMIT_16} ASCII characters, not {name[:80]!r}")
    if size >= LIMIT_32:
        raise ValueError(f"a member must be smaller than {LIMIT_32} bytes, {name!r} has {size}")
