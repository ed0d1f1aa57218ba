"""GeoTIFFs of the dataset as arrays, and where on the earth a tile lies."""

import io
import struct
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError, RasterioIOError

from bigearthnet.errors import PatchError
from bigearthnet.names import PATCH_METRES, PATCH_PIXELS, PIXEL_METRES, Patch

# OpenCV would print a line for each GeoTIFF tag it does not know: over 80,000 for 2,000 patches.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
# Converters run side by side already, and a patch is too small to share out.
cv2.setNumThreads(1)

Pixels = npt.NDArray[np.uint16]
_SHAPE = (PATCH_PIXELS, PATCH_PIXELS)

_PLAIN: Final = {256: PATCH_PIXELS, 257: PATCH_PIXELS, 258: 16, 277: 1, 339: 1}
"""Tags of a plain TIFF: width, height, bits a sample, samples a pixel, unsigned integers (TIFF 6.0)."""
_TURNING: Final = frozenset({266, 274})
"""Tags that change how pixels lie, which rasterio and OpenCV do not heed alike: FillOrder, Orientation."""

_UNREADABLE = (RasterioError, CRSError, UnicodeDecodeError)
"""What rasterio raises for files that are no GeoTIFF, or damaged; the last two for their CRS."""


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where a tile lies: EPSG code of its UTM zone, and the upper left corner of patch 00_00 in metres."""

    epsg: int
    x: float
    y: float

    def bounds(self, patch: Patch) -> tuple[float, float, float, float]:
        """Bounds of a patch of the tile: x_min, y_min, x_max, y_max in metres of the CRS."""
        left = self.x + PATCH_METRES * patch.column
        top = self.y - PATCH_METRES * patch.row
        return left, top - PATCH_METRES, left + PATCH_METRES, top


def decode(tiff: bytes, what: str) -> Pixels:
    """Read the one band of a GeoTIFF of 120 × 120 pixels.

    OpenCV reads the plain ones, as all published ones are; what rasterio reads, it reads to the same
    pixels. All others rasterio decides: OpenCV would scale samples of 12 bits, join bands to grey, and
    take a PNG too.

    Returns:
        uint16 of shape (120, 120).

    Raises:
        PatchError: it cannot be read, or is of another shape or type; the message begins with `what`.
    """
    if _is_plain(_directory(tiff)):
        pixels = cv2.imdecode(np.frombuffer(tiff, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.shape == _SHAPE and pixels.dtype == np.uint16:
            return pixels  # type: ignore[return-value]  # the dtype was just looked at
    return _decode_slowly(tiff, what)


def _directory(tiff: bytes) -> bytes:
    """The directory of a little-endian TIFF, 12 bytes a tag; empty if it is anything else."""
    if not tiff.startswith(b"II*\0"):
        return b""
    start = int.from_bytes(tiff[4:8], "little") + 2
    end = start + 12 * int.from_bytes(tiff[start - 2 : start], "little")
    return tiff[start:end] if end <= len(tiff) else b""


@lru_cache(maxsize=64)
def _is_plain(directory: bytes) -> bool:
    """Whether a directory is that of a plain TIFF. All published files of a kind have an equal one."""
    tags = {tag: value for tag, _, _, value in struct.iter_unpack("<HHII", directory)}
    return tags.items() >= _PLAIN.items() and not tags.keys() & _TURNING


def _decode_slowly(tiff: bytes, what: str) -> Pixels:
    try:
        with _opened(tiff) as dataset:
            found = f"{dataset.count} of {dataset.height} × {dataset.width}, {dataset.dtypes[0]}"
            if (dataset.count, dataset.shape, dataset.dtypes[0]) == (1, _SHAPE, "uint16"):
                pixels: Pixels = dataset.read(1)
                return pixels
    except _UNREADABLE as error:
        raise PatchError(f"{what}: expected a GeoTIFF, found {len(tiff):,} bytes that are none") from error
    raise PatchError(f"{what}: expected 1 band of 120 × 120, uint16, found {found}")


def georeference(tiff: bytes, patch: Patch) -> Georeference:
    """Where the tile of `patch` lies, from the GeoTIFF of any of its 10 m bands.

    Raises:
        PatchError: it has no CRS with an EPSG code, or its pixels are not 10 m, north up.
    """
    try:
        with _opened(tiff) as dataset:
            transform, epsg = dataset.transform, dataset.crs.to_epsg() if dataset.crs else None
    except _UNREADABLE as error:
        raise PatchError(f"{patch.patch_id}: expected a GeoTIFF, found {len(tiff):,} other bytes") from error
    if epsg is None or transform[:2] + transform[3:5] != (PIXEL_METRES, 0, 0, -PIXEL_METRES):
        raise PatchError(
            f"{patch.patch_id}: expected an EPSG code and pixels of 10 m, north up, "
            f"found {epsg} and {tuple(transform)[:6]}"
        )
    left, top = transform.c, transform.f
    return Georeference(epsg, left - PATCH_METRES * patch.column, top + PATCH_METRES * patch.row)


def _opened(tiff: bytes) -> rasterio.DatasetReader:
    if not tiff:  # rasterio would take it for a file to be written
        raise RasterioIOError("no bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(io.BytesIO(tiff), driver="GTiff")
