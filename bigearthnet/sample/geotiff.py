"""GeoTIFFs of the sample, written without GDAL and PROJ (TIFF 6.0, OGC GeoTIFF 1.1)."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

_TYPES = {"B": 2, "H": 3, "I": 4, "d": 12}
_HEAD_BYTES = 8


def geotiff(
    pixels: npt.NDArray[np.uint16], zone: int, corner: tuple[int, int], *, metres: int, compress: bool
) -> bytes:
    """Write a band as a GeoTIFF of one strip, with nodata 0.

    Args:
        pixels: of shape (height, width).
        zone: of UTM, north.
        corner: x and y of the upper left corner, in metres.
        metres: side of a pixel.
        compress: with deflate and horizontal differences, as reference maps; otherwise not, as images.
    """
    height, width = pixels.shape
    if compress:
        pixels = np.diff(pixels, axis=1, prepend=np.uint16(0))
    strip = pixels.astype("<u2").tobytes()
    strip = zlib.compress(strip) if compress else strip
    tags: list[tuple[int, str, tuple[float, ...]]] = [
        *((256, "H", (width,)), (257, "H", (height,)), (258, "H", (16,))),  # bits
        *((259, "H", (8 if compress else 1,)), (262, "H", (1,))),  # compression; 0 is black
        *((273, "I", (_HEAD_BYTES,)), (277, "H", (1,)), (278, "H", (height,)), (279, "I", (len(strip),))),
        *((317, "H", (2 if compress else 1,)), (339, "H", (1,))),  # differences; unsigned
        *((33550, "d", (metres, metres, 0)), (33922, "d", (0, 0, 0, *corner, 0))),
        # Projected; pixels are areas; EPSG code.
        (34735, "H", (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32600 + zone)),
        (42113, "B", tuple(b"0\0")),  # nodata
    ]
    body, directory = strip + bytes(len(strip) % 2), struct.pack("<H", len(tags))
    for tag, code, values in tags:
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            body, packed = body + packed, struct.pack("<I", _HEAD_BYTES + len(body))
        directory += struct.pack("<HHI4s", tag, _TYPES[code], len(values), packed)
    return struct.pack("<2sHI", b"II", 42, _HEAD_BYTES + len(body)) + body + directory + bytes(4)
