"""Where a GeoTIFF lies, compared with what rasterio reads."""

import struct
from typing import Any

import pytest
from rasterio import Affine

from bigearthnet.errors import PatchError
from bigearthnet.tile.raster import georeference
from tests.support.rasters import (
    FREE,
    NO_TIFFS,
    PATCH,
    WHOLE,
    assert_as_rasterio,
    entries,
    geotiff,
    pixels_of,
    with_tag,
)

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of ours


@pytest.mark.parametrize(
    "data", [b"", b"II+\0" + b"\xff" * 12, *NO_TIFFS], ids=lambda data: f"{len(data)} bytes"
)
def test_what_is_not_a_tiff_has_no_place(data: bytes) -> None:
    message = rf"^{PATCH.patch_id}: {len(data):,} bytes that are not a TIFF, or damaged$"
    with pytest.raises(PatchError, match=message):
        georeference(data, PATCH)


def test_tie_points_and_matrices_locate_too() -> None:
    data = bytearray(WHOLE)
    at = struct.unpack_from("<I", data, entries(WHOLE)[33922] + 8)[0]
    struct.pack_into("<6d", data, at, 30, 20, 0, 300_300, 5_399_800, 0)  # another pixel, the same place
    assert georeference(bytes(data), PATCH) == georeference(WHOLE, PATCH)
    assert_as_rasterio(bytes(data), PATCH)
    matrix = struct.pack("<16d", 10, 0, 0, 300_000, 0, -10, 0, 5_400_000, *[0] * 7, 1)
    data = bytearray(with_tag(with_tag(WHOLE, 42, 0, instead_of=33550), 43, 0, instead_of=33922))
    struct.pack_into("<HHII", data, entries(bytes(data))[FREE], 34264, 12, 16, len(data))
    assert georeference(bytes(data) + matrix, PATCH) == georeference(WHOLE, PATCH)


NO_CRS = r"states no EPSG code of a projected CRS \(GeoKey 3072\)$"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"crs": None}, NO_CRS),
        ({"crs": "+proj=laea +lat_0=1.5 +lon_0=3"}, NO_CRS),
        ({"crs": "EPSG:4326"}, NO_CRS),
        ({"transform": Affine(20, 0, 0, 0, -20, 0)}, "20 × 20 m"),
        ({"transform": Affine(10, 0, 0, 0, -20, 0)}, "10 × 20 m"),
        ({"transform": Affine(10, 0, 0, 0, 10, 0)}, "10 × -10 m"),
        ({"transform": Affine(10, 1, 0, 0, -10, 0)}, "0 × 0 m"),
        ({"transform": Affine(10, 0, 0, 1, -10, 0)}, "0 × 0 m"),
        ({"transform": Affine(10, 0, float("nan"), 0, -10, 0)}, "10 × 10 m at nan, 0$"),
        ({"transform": Affine.identity()}, "1 × -1 m|0 × 0 m"),
    ],
)
def test_a_file_without_its_place_is_refused(options: dict[str, Any], found: str) -> None:
    with pytest.raises(PatchError, match=rf"^{PATCH.patch_id}: the GeoTIFF .*({found})"):
        georeference(geotiff(pixels_of(), **options), PATCH)
