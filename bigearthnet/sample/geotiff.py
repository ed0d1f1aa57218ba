"""GeoTIFFs in the form of the published ones, written without GDAL and PROJ.

Sources: TIFF 6.0, OGC GeoTIFF 1.1.
"""

import struct
import zlib
from itertools import accumulate

import numpy as np
import numpy.typing as npt

_TYPES = {"s": 2, "H": 3, "I": 4, "d": 12}
_STRIP_BYTES = 8192
_OFFSETS, _BYTE_COUNTS = 273, 279


def geotiff(
    pixels: npt.NDArray[np.uint16], zone: int, corner: tuple[int, int], *, metres: int, compress: bool
) -> bytes:
    """Write a band as a GeoTIFF with nodata 0.

    Args:
        pixels: of shape (height, width).
        zone: of UTM, north.
        corner: x and y of the upper left corner, in metres.
        metres: side of a pixel.
        compress: with deflate and horizontal differences, as reference maps; otherwise not, as images.
    """
    height, width = pixels.shape
    rows = min(height, _STRIP_BYTES // (2 * width))
    if compress:
        pixels = np.diff(pixels, axis=1, prepend=np.uint16(0))
    strips = [pixels[row : row + rows].astype("<u2").tobytes() for row in range(0, height, rows)]
    if compress:
        strips = [zlib.compress(strip) for strip in strips]
    citation = f"WGS 84 / UTM zone {zone}N|"
    geo_keys = [
        *(1, 1, 0, 7),
        *(1024, 0, 1, 1),  # projected
        *(1025, 0, 1, 1),  # pixels are areas
        *(1026, 34737, len(citation), 0),
        *(2049, 34737, 7, len(citation)),
        *(2054, 0, 1, 9102),  # degrees
        *(3072, 0, 1, 32600 + zone),
        *(3076, 0, 1, 9001),  # metres
    ]
    tags: dict[int, tuple[str, list[float] | bytes]] = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", [16]),  # bits
        259: ("H", [8 if compress else 1]),
        262: ("H", [1]),  # 0 is black
        _OFFSETS: ("I", [0] * len(strips)),
        277: ("H", [1]),  # band
        278: ("H", [rows]),
        _BYTE_COUNTS: ("I" if compress or len(strips) == 1 else "H", [len(strip) for strip in strips]),
        284: ("H", [1]),  # bands one after the other
        **({317: ("H", [2])} if compress else {}),  # differences
        339: ("H", [1]),  # unsigned
        33550: ("d", [metres, metres, 0]),
        33922: ("d", [0, 0, 0, *corner, 0]),
        34735: ("H", [*geo_keys]),
        34737: ("s", f"{citation}WGS 84|\0".encode()),
        42113: ("s", b"0\0"),  # nodata
    }
    return _directory(tags, [len(strip) for strip in strips]) + b"".join(strips)


def _directory(tags: dict[int, tuple[str, list[float] | bytes]], strips: list[int]) -> bytes:
    """Header and directory of a TIFF, before strips of these sizes."""
    packed = {tag: _packed(*value) for tag, value in tags.items()}
    # libtiff puts the byte counts before the other values that are too long for an entry.
    outside = sorted((tag for tag in tags if len(packed[tag]) > 4), key=lambda tag: tag != _BYTE_COUNTS)
    start = 8 + 2 + 12 * len(tags) + 4
    *places, end = accumulate((len(packed[tag]) for tag in outside), initial=start)
    offsets = dict(zip(outside, places, strict=True))
    packed[_OFFSETS] = _packed("I", [*accumulate(strips[:-1], initial=end)])
    entries = [
        struct.pack("<HHI", tag, _TYPES[code], len(values))
        + (struct.pack("<I", offsets[tag]) if tag in offsets else packed[tag].ljust(4, b"\0"))
        for tag, (code, values) in tags.items()
    ]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return b"".join([head, *entries, bytes(4), *(packed[tag] for tag in outside)])


def _packed(code: str, values: list[float] | bytes) -> bytes:
    return values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{code}", *values)
