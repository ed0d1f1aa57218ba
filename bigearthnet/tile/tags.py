"""Numeric tags of a TIFF, read without GDAL and PROJ.

Sources: TIFF 6.0; "The BigTIFF File Format" (Adobe, libtiff).
"""

import struct
from collections.abc import Mapping

SHORT, DOUBLE = 3, 12
"""Types of tags."""
_FORMATS = {SHORT: "H", DOUBLE: "d"}
_VALUES_LIMIT = 1024


def read_tags(tiff: bytes, wanted: Mapping[int, int]) -> dict[int, tuple[float, ...]]:
    """Read tags of the first directory.

    Args:
        tiff: of either byte order, also a BigTIFF.
        wanted: type of each tag to read. Tags of another type, or with over 1,024 values, are skipped.

    Raises:
        ValueError: it is not a TIFF, or damaged.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        raise ValueError("not a TIFF")
    tags: dict[int, tuple[float, ...]] = {}
    try:
        (version,) = struct.unpack_from(f"{order}H", tiff, 2)
        offset, at, count = ("Q", 8, "Q") if version == 43 else ("I", 4, "H")
        entry = struct.Struct(f"{order}HH{offset}{struct.calcsize(offset)}s")
        (start,) = struct.unpack_from(order + offset, tiff, at)
        (entries,) = struct.unpack_from(order + count, tiff, start)
        start += struct.calcsize(order + count)
        for position in range(start, start + entries * entry.size, entry.size):
            tag, kind, size, inline = entry.unpack_from(tiff, position)
            if kind == wanted.get(tag) and size <= _VALUES_LIMIT:
                values = struct.Struct(f"{order}{size}{_FORMATS[kind]}")
                fits = values.size <= len(inline)
                where = (
                    position + entry.size - len(inline) if fits else struct.unpack(order + offset, inline)[0]
                )
                tags.setdefault(tag, values.unpack_from(tiff, where))
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError("a damaged TIFF") from error
    return tags
