"""Places on the earth: from metres in a UTM zone to longitude and latitude.

Written out rather than left to PROJ, whose database is another one on every machine.

Source: Krüger's series to the fourth order of n, as in Karney, "Transverse Mercator with an accuracy of a
few nanometers" (2011); the ellipsoid of WGS 84.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Degrees = npt.NDArray[np.float64]

_AXIS, _FLATTENING = 6_378_137.0, 1 / 298.257223563
_SCALE, _EASTING, _SOUTHERN_NORTHING = 0.9996, 500_000.0, 10_000_000.0
_NORTH, _SOUTH = 326, 327  # first digits of the EPSG codes of the zones

_STEPS: Final = 2.0**27
"""Degrees are rounded to so many steps, 0.8 mm: what is beyond differs between processors."""

_N: Final = _FLATTENING / (2 - _FLATTENING)
_RADIUS: Final = _AXIS / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_TO_SPHERE: Final = (
    _N / 2 - 2 / 3 * _N**2 + 37 / 96 * _N**3 - _N**4 / 360,
    _N**2 / 48 + _N**3 / 15 - 437 / 1440 * _N**4,
    17 / 480 * _N**3 - 37 / 840 * _N**4,
    4397 / 161_280 * _N**4,
)
_TO_LATITUDE: Final = (
    2 * _N - 2 / 3 * _N**2 - 2 * _N**3 + 116 / 45 * _N**4,
    7 / 3 * _N**2 - 8 / 5 * _N**3 - 227 / 45 * _N**4,
    56 / 15 * _N**3 - 136 / 35 * _N**4,
    4279 / 630 * _N**4,
)


def is_utm(epsg: int) -> bool:
    """Return True for the EPSG code of a UTM zone of WGS 84."""
    return epsg // 100 in (_NORTH, _SOUTH) and 1 <= epsg % 100 <= 60


def lon_lat(epsg: int, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Degrees, Degrees]:
    """Return longitude and latitude (OGC:CRS84) of points, in metres of a UTM zone, to a millimetre.

    Raises:
        ValueError: the EPSG code is not that of a UTM zone of WGS 84.
    """
    if not is_utm(epsg):
        raise ValueError(f"EPSG:{epsg} is not a UTM zone of WGS 84")
    north = _SOUTHERN_NORTHING if epsg // 100 == _SOUTH else 0.0
    point = ((np.asarray(y, np.float64) - north) + 1j * (np.asarray(x, np.float64) - _EASTING)) / (
        _SCALE * _RADIUS
    )
    sphere = point - sum(factor * np.sin(2 * (j + 1) * point) for j, factor in enumerate(_TO_SPHERE))
    conformal = np.arcsin(np.sin(sphere.real) / np.cosh(sphere.imag))
    latitude = conformal + sum(f * np.sin(2 * (j + 1) * conformal) for j, f in enumerate(_TO_LATITUDE))
    longitude = np.arctan2(np.sinh(sphere.imag), np.cos(sphere.real))
    east = np.degrees(longitude) + (6 * (epsg % 100) - 183)
    return _rounded(east), _rounded(np.degrees(latitude))


def _rounded(degrees: Degrees) -> Degrees:
    steps: Degrees = np.rint(degrees * _STEPS)
    return steps / _STEPS
