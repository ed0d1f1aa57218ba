"""GeoTIFFs of the dataset: their pixels, and their place on the earth."""

import io
import math
import struct
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from bigearthnet.errors import PatchError
from bigearthnet.names import PATCH_METRES, PATCH_PIXELS, PIXEL_METRES, Patch

# OpenCV would print a line for each GeoTIFF tag that it does not know: 80,000 for 2,000 patches.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
# Tiles are converted side by side already, and a patch is too small to be shared by threads.
cv2.setNumThreads(1)

Pixels = npt.NDArray[np.uint16]
_SHAPE = (PATCH_PIXELS, PATCH_PIXELS)
_BLOCK_LIMIT = 1 << 20
"""Most pixels of a strip or tile, which is decoded whole; the published ones have 34 × 120."""

_ROWS_PER_STRIP: Final = 278
_PLAIN: Final = {256: PATCH_PIXELS, 257: PATCH_PIXELS, 258: 16, 277: 1, 339: 1}
"""Tags of a plain TIFF: width, height, bits a sample, samples a pixel, unsigned integers (TIFF 6.0)."""
_NOT_PLAIN: Final = frozenset({266, 274, 322, 323})
"""FillOrder and Orientation, which OpenCV and rasterio treat differently; width and length of tiles."""

_SCALE, _TIE_POINT, _MATRIX, _GEO_KEYS = 33550, 33922, 34264, 34735
_GEO_TAGS: Final = {(_SCALE, 12): "d", (_TIE_POINT, 12): "d", (_MATRIX, 12): "d", (_GEO_KEYS, 3): "H"}
"""Tags and their types in a TIFF, and those types in `struct`."""
_VALUES_LIMIT = 1024
_RASTER_TYPE, _PIXEL_IS_POINT, _PROJECTED_CRS = 1025, 2, 3072
"""A GeoKey and its value, and the GeoKey with the EPSG code (OGC GeoTIFF 1.1)."""
_USER_DEFINED = 32767


@dataclass(frozen=True, slots=True)
class Georeference:
    """Place of a tile: EPSG code of its UTM zone, and the upper left corner of patch 00_00 in metres."""

    epsg: int
    x: float
    y: float

    def bounds(self, patch: Patch) -> tuple[float, float, float, float]:
        """Return x_min, y_min, x_max, y_max of a patch of the tile, in metres."""
        left = self.x + PATCH_METRES * patch.column
        top = self.y - PATCH_METRES * patch.row
        return left, top - PATCH_METRES, left + PATCH_METRES, top


def decode(tiff: bytes, what: str) -> Pixels:
    """Read the single band of a GeoTIFF of 120 × 120 pixels.

    OpenCV reads plain TIFFs, as all published ones are, to the same pixels as rasterio. All others are
    left to rasterio: OpenCV would scale samples of 12 bits, mix bands to grey, and accept a PNG.

    Returns:
        uint16 of shape (120, 120).

    Raises:
        PatchError: it cannot be read, or has another shape or type; the message begins with `what`.
    """
    if _is_plain(_directory(tiff)):
        try:
            pixels = cv2.imdecode(np.frombuffer(tiff, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
        if pixels is not None and pixels.shape == _SHAPE and pixels.dtype == np.uint16:
            return pixels  # type: ignore[return-value]  # the dtype was just checked
    return _decode_any(tiff, what)


def _directory(tiff: bytes) -> bytes:
    """Directory of a little-endian TIFF, 12 bytes a tag; empty for any other file."""
    if not tiff.startswith(b"II*\0"):
        return b""
    start = int.from_bytes(tiff[4:8], "little") + 2
    end = start + 12 * int.from_bytes(tiff[start - 2 : start], "little")
    return tiff[start:end] if end <= len(tiff) else b""


@lru_cache(maxsize=64)
def _is_plain(directory: bytes) -> bool:
    """Return whether a directory is that of a plain TIFF; published files of a kind have the same one."""
    entries = list(struct.iter_unpack("<HHII", directory))
    tags = {tag: value for tag, _, _, value in entries}
    return (
        len(tags) == len(entries)
        and tags.items() >= _PLAIN.items()
        and not tags.keys() & _NOT_PLAIN
        and tags.get(_ROWS_PER_STRIP, 0) <= PATCH_PIXELS
    )


def _decode_any(tiff: bytes, what: str) -> Pixels:
    # Imported here: published files never need it, and it takes 0.4 s and 40 MiB.
    import rasterio  # noqa: PLC0415
    from rasterio.errors import NotGeoreferencedWarning, RasterioError  # noqa: PLC0415

    try:
        if not tiff:  # rasterio would take it for a file to be written
            raise PatchError(f"{what}: the file is empty")
        # A setting of this machine must not make pixels of a damaged file.
        with warnings.catch_warnings(), rasterio.Env(GTIFF_IGNORE_READ_ERRORS=False):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(io.BytesIO(tiff), driver="GTiff")
        with dataset:
            found = f"{dataset.count} of {dataset.height} × {dataset.width}, {dataset.dtypes[0]}"
            if (dataset.count, dataset.shape, dataset.dtypes[0]) == (1, _SHAPE, "uint16"):
                rows, columns = dataset.block_shapes[0]
                if rows * columns > _BLOCK_LIMIT:
                    raise PatchError(f"{what}: the GeoTIFF claims blocks of {rows:,} × {columns:,} pixels")
                pixels: Pixels = dataset.read(1)
                return pixels
    except (RasterioError, UnicodeDecodeError) as error:
        raise PatchError(f"{what}: {len(tiff):,} bytes that are not a GeoTIFF, or damaged") from error
    raise PatchError(f"{what}: the GeoTIFF has not 1 band of 120 × 120 pixels, uint16, but {found}")


def georeference(tiff: bytes, patch: Patch) -> Georeference:
    """Locate the tile of `patch` by the GeoTIFF of any of its 10 m bands.

    Raises:
        PatchError: it states no EPSG code, or its pixels are not 10 m, north up.
    """
    try:
        tags = _geo_tags(tiff)
    except (KeyError, struct.error, IndexError, OverflowError) as error:
        raise PatchError(f"{patch.patch_id}: {len(tiff):,} bytes that are not a TIFF, or damaged") from error
    geo = tags.get(_GEO_KEYS, ())[4:]
    keys = {
        key: value
        for key, location, value in zip(geo[::4], geo[1::4], geo[3::4], strict=False)
        if not location
    }
    epsg = int(keys.get(_PROJECTED_CRS, _USER_DEFINED))
    width, height, left, top = _grid(tags)
    if epsg == _USER_DEFINED:
        raise PatchError(
            f"{patch.patch_id}: the GeoTIFF states no EPSG code of a projected CRS (GeoKey 3072)"
        )
    if (width, height) != (PIXEL_METRES, PIXEL_METRES) or not math.isfinite(left + top):
        raise PatchError(
            f"{patch.patch_id}: the GeoTIFF has not pixels of {PIXEL_METRES} m, north up, but of "
            f"{width:g} × {height:g} m at {left:g}, {top:g}"
        )
    if keys.get(_RASTER_TYPE) == _PIXEL_IS_POINT:
        left, top = left - width / 2, top + height / 2
    return Georeference(epsg, left - PATCH_METRES * patch.column, top + PATCH_METRES * patch.row)


def _geo_tags(tiff: bytes) -> dict[int, tuple[float, ...]]:
    """Read `_GEO_TAGS` of a TIFF or BigTIFF of either byte order, without GDAL and PROJ."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    is_big = struct.unpack_from(f"{order}H", tiff, 2) == (43,)
    offset, at, count = ("Q", 8, "Q") if is_big else ("I", 4, "H")
    entry = struct.Struct(f"{order}HH{offset}{offset}")
    (start,) = struct.unpack_from(order + offset, tiff, at)
    (entries,) = struct.unpack_from(order + count, tiff, start)
    start += struct.calcsize(order + count)
    tags: dict[int, tuple[float, ...]] = {}
    for position in range(start, start + entries * entry.size, entry.size):
        tag, kind, size, where = entry.unpack_from(tiff, position)
        if (tag, kind) in _GEO_TAGS and size <= _VALUES_LIMIT:
            # The values needed are too long to be in the entry itself.
            tags.setdefault(tag, struct.unpack_from(f"{order}{size}{_GEO_TAGS[tag, kind]}", tiff, where))
    return tags


def _grid(tags: dict[int, tuple[float, ...]]) -> tuple[float, float, float, float]:
    """Width and height of a pixel, x and y of the upper left corner, in metres; zeros if not north up."""
    scale, tie, matrix = (tags.get(tag, ()) for tag in (_SCALE, _TIE_POINT, _MATRIX))
    if len(scale) == 3 and len(tie) == 6:
        return scale[0], scale[1], tie[3] - tie[0] * scale[0], tie[4] + tie[1] * scale[1]
    if len(matrix) == 16 and matrix[1] == matrix[4] == 0:
        return matrix[0], -matrix[5], matrix[3], matrix[7]
    return 0, 0, 0, 0
