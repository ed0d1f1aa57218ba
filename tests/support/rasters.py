"""GeoTIFFs of any shape, type, place and layout, written by GDAL, and what rasterio reads of them."""

import io
import struct
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.io import MemoryFile

from bigearthnet.names import Patch, parse_patch
from bigearthnet.tile.raster import decode, georeference
from tests.support import archives

PATCH = parse_patch("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57")
NORTH_UP = Affine(10, 0, 300_000, 0, -10, 5_400_000)


def geotiff(
    pixels: npt.NDArray[Any],
    crs: str | None = "EPSG:32633",
    transform: Affine = NORTH_UP,
    *,
    points: bool = False,
    **options: Any,
) -> bytes:
    """A GeoTIFF of these pixels, (row, column) or (band, row, column), with GDAL's options.

    `points`: the transform is written as that of pixels' centres, as some programs do.
    """
    stack = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = stack.shape
    shape = {"count": count, "height": height, "width": width, "dtype": stack.dtype}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", crs=crs, transform=transform, **shape, **options) as file:
            file.update_tags(AREA_OR_POINT="Point" if points else "Area")
            file.write(stack)
        return bytes(memory.getbuffer())


def pixels_of(shape: tuple[int, ...] = (120, 120), kind: str = "uint16") -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, 65_536, shape).astype(kind)


def entries(data: bytes) -> dict[int, int]:
    """Position of each tag of a little-endian TIFF."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    return {struct.unpack_from("<H", data, at)[0]: at for at in range(start + 2, start + 2 + 12 * count, 12)}


def with_tag(data: bytes, tag: int, value: int, *, instead_of: int | None = None) -> bytes:
    """The TIFF with another value of a tag, or with that tag in the place of another."""
    changed = bytearray(data)
    at = entries(data)[instead_of or tag]
    struct.pack_into("<HHII", changed, at, tag, 4 if value > 65_535 else 3, 1, value)
    return bytes(changed)


WHOLE = geotiff(pixels_of())
FREE = 284  # PlanarConfiguration has its default, so that its place can be taken
_PNG = cv2.imencode(".png", pixels_of())[1].tobytes()
NO_TIFFS = [b"I", b"II*\0", bytes(29_196), _PNG, WHOLE[:100]]


def assert_same(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    assert (found.shape, found.dtype) == ((120, 120), np.dtype(np.uint16))
    np.testing.assert_array_equal(found, expected)


def assert_as_rasterio(data: bytes, patch: Patch) -> None:
    """Pixels and place are those that rasterio finds."""
    assert_same(decode(data, "B04"), archives.pixels(data)[0])
    located = georeference(data, patch)
    with rasterio.open(io.BytesIO(data)) as file:
        assert located.bounds(patch) == tuple(file.bounds)
        assert located.epsg == file.crs.to_epsg()
