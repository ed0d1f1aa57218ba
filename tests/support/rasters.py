"""GeoTIFFs of any shape, type, place and layout, written by GDAL."""

from typing import Any

import numpy.typing as npt
from rasterio import Affine
from rasterio.io import MemoryFile

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
