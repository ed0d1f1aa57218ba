"""Longitudes and latitudes, compared with PROJ."""

import numpy as np
import pytest
from rasterio.warp import transform

from bigearthnet.dataset.geography import is_utm, lon_lat


@pytest.mark.parametrize("epsg", [32601, 32629, 32635, 32660, 32733])
def test_places_are_those_of_proj(epsg: int) -> None:
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(1e5, 9e5, 9), np.linspace(1e5, 9.3e6, 24)))
    if epsg > 32700:
        y = y + 6e5
    longitude, latitude = lon_lat(epsg, x, y)
    by_proj = transform(f"EPSG:{epsg}", "OGC:CRS84", x, y)
    turned = (longitude - by_proj[0] + 180) % 360 - 180
    metre = 1 / 111_000
    np.testing.assert_allclose(turned * np.cos(np.radians(latitude)), 0, atol=metre / 1000)
    np.testing.assert_allclose(latitude, by_proj[1], rtol=0, atol=metre / 1000)


@pytest.mark.parametrize("epsg", [3035, 4326, 32600, 32661, 32700, 32761])
def test_other_systems_are_refused(epsg: int) -> None:
    assert not is_utm(epsg)
    with pytest.raises(ValueError, match=f"EPSG:{epsg} is not a UTM zone"):
        lon_lat(epsg, 0, 0)
