"""GeoTIFFs of the dataset: their pixels, and their place on the earth."""

import io
import math
import struct
import warnings
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from bigearthnet.errors import PatchError
from bigearthnet.names import PATCH_METRES, PATCH_PIXELS, PIXEL_METRES, Patch

Pixels = npt.NDArray[np.uint16]
_SHAPE = (PATCH_PIXELS, PATCH_PIXELS)
_BLOCK_LIMIT = 1 << 20
"""Most pixels of a strip or tile, which is decoded whole; the published ones have 34 × 120."""

_SHORT, _LONG = 3, 4
"""Types of a TIFF (TIFF 6.0)."""
_COMMON: Final = {256: PATCH_PIXELS, 257: PATCH_PIXELS, 258: 16, 262: 1, 277: 1, 278: 34, 284: 1, 339: 1}
_BAND: Final = _COMMON | {259: 1}
_MAP: Final = _COMMON | {259: 8, 317: 2}
"""Tags of the published 10 m bands and maps, each one number of type `_SHORT`: width, height, bits a sample,
black is zero, samples a pixel, rows a strip, one plane, unsigned integers; bands are not compressed, maps are
deflated differences along the rows."""
_OFFSETS, _SIZES = 273, 279
_STRIP_BYTES: Final = tuple(2 * PATCH_PIXELS * rows for rows in (34, 34, 34, 18))
_WITHOUT_PIXELS: Final = frozenset({33550, 33922, 34735, 34737, 42113})
"""Tags that pixels do not depend on: the place on the earth, and the value without data."""

_DamagedStreamError: Final = cast("type[Exception]", zlib_ng.error)  # its stub has no class

_SCALE, _TIE_POINT, _MATRIX, _GEO_KEYS = 33550, 33922, 34264, 34735
_GEO_TAGS: Final = {(_SCALE, 12): "d", (_TIE_POINT, 12): "d", (_MATRIX, 12): "d", (_GEO_KEYS, 3): "H"}
"""Tags and their types in a TIFF, and those types in `struct`."""
_VALUES_LIMIT = 1024
_RASTER_TYPE, _PIXEL_IS_POINT, _PROJECTED_CRS = 1025, 2, 3072
"""A GeoKey and its value, and the GeoKey with the EPSG code (OGC GeoTIFF 1.1)."""
_USER_DEFINED = 32767


@dataclass(frozen=True, slots=True)
class _Strips:
    """Where a file has the offsets and the sizes of its strips, and their format in `struct`."""

    offsets: int
    sizes: int
    sizes_format: str
    first: int  # least offset
    is_map: bool


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

    The published form is read here, to the same pixels as by rasterio; all others are left to rasterio.

    Returns:
        uint16 of shape (120, 120); read-only if the pixels are those of `tiff`.

    Raises:
        PatchError: it cannot be read, or has another shape or type; the message begins with `what`.
    """
    try:
        return _decode_published(tiff)
    except _DamagedStreamError as error:  # rasterio would take what is in memory for the missing pixels
        raise _damaged(tiff, what) from error
    except (ValueError, struct.error):
        return _decode_any(tiff, what)


def _decode_published(tiff: bytes) -> Pixels:
    """Read a file in the published form; ValueError and struct.error are of all others."""
    if not tiff.startswith(b"II*\0\x08\0\0\0"):
        raise ValueError("no little-endian TIFF whose directory comes first")
    strips = _strips(tiff[: 14 + 12 * int.from_bytes(tiff[8:10], "little")])
    offsets = struct.unpack_from("<4I", tiff, strips.offsets)
    sizes = struct.unpack_from(strips.sizes_format, tiff, strips.sizes)
    ends = tuple(map(sum, zip(offsets, sizes, strict=True)))
    if offsets[0] < strips.first or offsets[1:] != ends[:-1] or ends[-1] > len(tiff):
        raise ValueError("strips do not follow one another, or are cut off")
    if not strips.is_map:
        if sizes != _STRIP_BYTES:
            raise ValueError("strips of other sizes")
        return np.frombuffer(tiff, "<u2", math.prod(_SHAPE), offsets[0]).reshape(_SHAPE)
    data = b"".join(map(_inflate, (tiff[i:j] for i, j in zip(offsets, ends, strict=True)), _STRIP_BYTES))
    # In 32 bits, which numpy adds three times as fast.
    return np.frombuffer(data, "<u2").reshape(_SHAPE).cumsum(axis=1, dtype=np.uint32).astype(np.uint16)


@lru_cache(maxsize=64)
def _strips(header: bytes) -> _Strips:
    """Find the strips of a file by its bytes up to the end of its directory, which files of a kind share."""
    entries = list(struct.iter_unpack("<HHII", header[10:-4]))
    tags = {tag: value for tag, _, _, value in entries if tag not in _WITHOUT_PIXELS}
    types = {tag: (kind, count) for tag, kind, count, _ in entries if tag in tags}
    offsets, sizes = tags.pop(_OFFSETS, 0), tags.pop(_SIZES, 0)
    is_map = tags == _MAP
    arrays = {_OFFSETS: (_LONG, 4), _SIZES: (_LONG if is_map else _SHORT, 4)}
    if (
        tags not in (_BAND, _MAP)
        or types != dict.fromkeys(tags, (_SHORT, 1)) | arrays
        or any(one[0] >= following[0] for one, following in pairwise(entries))
        or any(header[-4:])  # another directory follows
    ):
        raise ValueError("not the directory of a published file")
    return _Strips(offsets, sizes, "<4I" if is_map else "<4H", len(header), is_map)


def _inflate(strip: bytes, size: int) -> bytes:
    stream = zlib_ng.decompressobj()
    # Up to the checksum at its end, but no bomb; some programs fill the last strip up.
    data = stream.decompress(strip, _STRIP_BYTES[0] + 1)
    if not stream.eof or len(data) < size:
        raise _DamagedStreamError("a strip of another size")
    return data[:size]


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
        raise _damaged(tiff, what) from error
    raise PatchError(f"{what}: the GeoTIFF has not 1 band of 120 × 120 pixels, uint16, but {found}")


def _damaged(tiff: bytes, what: str) -> PatchError:
    return PatchError(f"{what}: {len(tiff):,} bytes that are not a GeoTIFF, or damaged")


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
