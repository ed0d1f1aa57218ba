"""GeoTIFFs in the form of the published ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bigearthnet.names import MAP, PATCH_METRES

_AS_MAP = {"compress": "deflate", "predictor": 2}  # differences along the rows
_UTM_NORTH = (
    'PROJCS["WGS 84 / UTM zone {zone}N",'
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],'
    'PROJECTION["Transverse_Mercator"],UNIT["metre",1],AUTHORITY["EPSG","{epsg}"]]'
)
"""In WKT. An EPSG code alone is looked up in PROJ's database, which another program's PROJ_DATA may hide."""


def geotiffs(
    layers: Mapping[str, npt.NDArray[np.uint16]], zone: int, corner: tuple[int, int]
) -> dict[str, bytes]:
    """Write the layers of a patch, each a square.

    Args:
        layers: bands, and the reference map as `MAP`, which alone is compressed.
        zone: of UTM, north.
        corner: x and y of the patch's upper left corner, in metres.
    """
    # Imported here: it takes 0.3 s, and only the sample needs it.
    from rasterio import Affine, Env  # noqa: PLC0415
    from rasterio.crs import CRS  # noqa: PLC0415
    from rasterio.io import MemoryFile  # noqa: PLC0415

    common: dict[str, Any] = {"driver": "GTiff", "count": 1, "dtype": "uint16", "nodata": 0}
    files = {}
    with Env():
        crs = CRS.from_wkt(_UTM_NORTH.format(zone=zone, epsg=32600 + zone))
        for layer, pixels in layers.items():
            side, metres = len(pixels), PATCH_METRES / len(pixels)
            transform = Affine(metres, 0, corner[0], 0, -metres, corner[1])
            grid = {"height": side, "width": side, "crs": crs, "transform": transform}
            with MemoryFile() as memory:
                with memory.open(**common, **grid, **(_AS_MAP if layer == MAP else {})) as file:
                    file.write(pixels, 1)
                files[layer] = bytes(memory.getbuffer())
    return files
