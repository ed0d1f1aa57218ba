"""Write PNGs whose every byte is decided here and by the pinned zlib-ng.

OpenCV's wheel deflates by the machine's own zlib, so that its PNGs differ between machines. No search for
repetitions is made, as its result would depend on the processor.

Sources: PNG (ISO/IEC 15948:2004), sections 5 (chunks) and 9 (filters).
"""

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

Bytes2D = npt.NDArray[np.uint8]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">IIBBBBB")
_GREY, _RGB = 0, 2  # colour types
_UP, _AVERAGE = 2, 3  # filter types
_LEVEL, _WINDOW_BITS, _MEMORY_LEVEL = 1, 15, 8


def encode_image(pixels: Bytes2D) -> bytes:
    """Encode RGB pixels, (height, width, 3), with the filter Average.

    The residuals are only Huffman coded: for real Sentinel-2 patches, whose noise does not repeat, this is
    smaller than deflate at any level, in a fraction of the time.
    """
    height, width, channels = pixels.shape
    residuals = _minus_average(pixels.reshape(height, width * channels), channels)
    header = _HEADER.pack(width, height, 8, _RGB, 0, 0, 0)
    return _png(header, _AVERAGE, residuals, zlib_ng.Z_HUFFMAN_ONLY)


def encode_mask(pixels: npt.NDArray[Any]) -> bytes:
    """Encode a mask, (height, width), of type uint8 or uint16, with the filter Up.

    Each row is compared with the one above, and runs of equal bytes are shortened.
    """
    height, width = pixels.shape
    raw = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8)
    header = _HEADER.pack(width, height, 8 * pixels.itemsize, _GREY, 0, 0, 0)
    return _png(header, _UP, raw - _above(raw), zlib_ng.Z_RLE)


def deflate(data: Bytes2D, strategy: int) -> bytes:
    """Return bytes as a zlib stream, by `Z_HUFFMAN_ONLY` or `Z_RLE`."""
    stream = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, strategy)
    return stream.compress(data) + stream.flush()


def _minus_average(raw: Bytes2D, channels: int) -> Bytes2D:
    left, above = np.zeros_like(raw), _above(raw)
    left[:, channels:] = raw[:, :-channels]
    mean = left ^ above  # rounded down, without a wider type: (left ^ above) >> 1 + (left & above)
    mean >>= 1
    mean += np.bitwise_and(left, above, out=left)
    np.subtract(raw, mean, out=mean)
    return mean


def _above(raw: Bytes2D) -> Bytes2D:
    above = np.zeros_like(raw)
    above[1:] = raw[:-1]
    return above


def _png(header: bytes, row_filter: int, residuals: Bytes2D, strategy: int) -> bytes:
    rows = np.empty((residuals.shape[0], 1 + residuals.shape[1]), np.uint8)
    rows[:, 0], rows[:, 1:] = row_filter, residuals
    data = deflate(rows, strategy)
    return b"".join((_SIGNATURE, *_chunk(b"IHDR", header), *_chunk(b"IDAT", data), *_chunk(b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    crc = zlib_ng.crc32(data, zlib_ng.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)
