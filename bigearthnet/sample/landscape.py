"""Draws land from above: class maps and matching reflectance.

What is drawn depends on the place in the tile alone, so that neighbouring patches continue one another.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bigearthnet.classes import UNCLASSIFIED
from bigearthnet.names import BANDS, PATCH_PIXELS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint16]
Place = tuple[Ints, Ints]  # columns (1, width) and rows (height, 1) of pixels


def _table(name: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


_SPECTRA: Final = _table("spectra.csv")
"""Surface reflectance × 10,000 of each material by band: rounded, typical of Sentinel-2."""
_COVERS: Final = _table("covers.csv")
"""For each CLC code: side of its parcels in pixels, and their materials."""
_NAMES: Final = [line["material"] for line in _SPECTRA]
_BY_BAND: Final = {band: np.array([float(line[band]) for line in _SPECTRA]) for band in BANDS}
_CODES: Final = np.array([int(line["clc"]) for line in _COVERS])
_PARCELS: Final = np.array([int(line["parcel"]) for line in _COVERS])
_MATERIALS: Final = np.array(
    [np.resize([_NAMES.index(name) for name in line["materials"].split()], 60) for line in _COVERS]
)

_SIDES: Final = {"B01": 20, "B09": 20, "B02": 120, "B03": 120, "B04": 120, "B08": 120}
"""Pixels along the side of a patch in bands of 60 m and of 10 m; those of 20 m have 60."""
_NOISE: Final = 14.0  # standard deviation of a band, as over a real sea patch
_BLOCK: Final = 80  # pixels: side of a block of farmland, between roads
_SHUFFLED: Final = np.random.default_rng(0).permutation(1 << 16)


@dataclass(frozen=True, slots=True)
class Region:
    """The land of a tile."""

    key: int  # another key gives another land
    farmland: tuple[int, ...]  # CLC codes, common ones several times
    water: int = 512  # or 523, the sea
    snow: bool = False  # snow lies on some patches, instead of clouds over them


@dataclass(frozen=True, slots=True)
class Land:
    """A patch of land."""

    codes: Pixels  # the reference map
    bands: dict[str, Pixels]  # reflectance × 10,000, never 0
    covered: bool  # by clouds, their shadows or snow, or a part of it


def draw(region: Region, column: int, row: int) -> Land:
    """Draw the patch in this column and row of a tile."""
    at = np.arange(PATCH_PIXELS + 1)  # one more, to blur
    place = (at + column * PATCH_PIXELS, at[:, None] + row * PATCH_PIXELS)
    block, road = _blocks(region.key, place)
    codes = _classes(region, block, place)
    materials, light = _materials(region.key, codes, block, place)
    materials[road & (codes < 300)] = _NAMES.index("asphalt")
    cover, shade = _weather(region, codes, place)
    veil = _NAMES.index("snow" if region.snow else "cloud")
    ground_light, veil_light = light * (1 - cover) * (1 - 0.6 * shade), cover * (0.7 + 0.3 * light)
    noise = np.random.default_rng((region.key, column, row))
    bands = {}
    for band, spectra in _BY_BAND.items():
        seen = spectra[materials] * ground_light + spectra[veil] * veil_light
        blurred = (seen[:-1, :-1] + seen[1:, :-1] + seen[:-1, 1:] + seen[1:, 1:]) / 4
        side = _SIDES.get(band, 60)
        pixels = blurred.reshape(side, PATCH_PIXELS // side, side, -1).mean((1, 3))
        pixels += _NOISE * noise.standard_normal((side, side))
        bands[band] = np.rint(pixels.clip(1, 20000)).astype(np.uint16)
    covered = bool((np.maximum(cover, shade) > 0.1).any())
    return Land(codes[:-1, :-1].astype(np.uint16), bands, covered)


def _blocks(key: int, place: Place) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Number of each pixel's block of farmland, and where a road is."""
    east, south = (at + 12 * _field(key, n, 200, place) for n, at in enumerate(place))
    row = south // _BLOCK
    east += row * _BLOCK * 0.4  # so that roads to the south do not go on for ever
    return _hash(east // _BLOCK, row), np.minimum(east % _BLOCK, south % _BLOCK) < 1.5


def _classes(region: Region, block: Ints, place: Place) -> Ints:
    """CLC code of each pixel: farmland by blocks, the rest by levels of smooth fields."""
    woods, kind, people = (_field(region.key, n, 400, place) for n in (2, 3, 4))
    ground, unknown = _field(region.key, 5, 800, place), _field(region.key, 6, 120, place)
    codes = np.take(region.farmland, block % len(region.farmland))
    codes = np.where(woods > 0.5, np.select([kind < -0.6, kind < 0.6], [311, 313], 312), codes)
    codes[abs(woods - 0.5) < 0.06] = 324
    codes[people > 1.2] = 112
    codes[(people > 1.2) & (block % 6 == 0)] = 121
    codes[ground < -0.85] = 331 if region.water == 523 else 411
    codes[ground < -0.9] = region.water
    codes[unknown > 2.8] = UNCLASSIFIED
    return codes


def _materials(key: int, codes: Ints, block: Ints, place: Place) -> tuple[Ints, Floats]:
    """Material and light of each pixel: parcels in the direction of their block, and lone trees."""
    (xs, ys), angle, cover = place, block % 7 * (np.pi / 7), np.searchsorted(_CODES, codes)
    along, across = xs * np.cos(angle) + ys * np.sin(angle), ys * np.cos(angle) - xs * np.sin(angle)
    parcel = _hash(block + along // _PARCELS[cover], across // (2 * _PARCELS[cover]))
    materials = _MATERIALS[cover, parcel % 60]
    materials[(codes // 100 == 2) & (_field(key, 7, 16, place) > 2)] = _NAMES.index("broadleaf")
    light = 1 + (parcel / _SHUFFLED.size - 0.5) * np.where(codes < 300, 0.3, 0.1)
    rough = np.select([codes // 10 == 31, codes > 500], [0.14, 0.02], 0.05)
    return materials, light * (1 + rough * _field(key, 8, 12, place))


def _weather(region: Region, codes: Ints, place: Place) -> tuple[Floats, Floats]:
    """Share of each pixel under clouds or snow, and in a cloud's shadow, from 0 to 1."""
    cover = (2 * _field(region.key, 9, 600, place) - 3.6).clip(0, 1)
    if region.snow:
        return cover * np.select([codes > 500, codes // 10 == 31], [0, 0.4], 0.95), np.zeros_like(cover)
    behind = (place[0] + 25, place[1] + 25)
    return cover, (2 * _field(region.key, 9, 600, behind) - 3.6).clip(0, 1)


def _field(key: int, number: int, length: int, place: Place) -> Floats:
    """Smooth noise of mean 0 and deviation 1: the sum of waves of `length` pixels and shorter ones."""
    random = np.random.default_rng((key, number))
    angle, phase = random.uniform(0, 2 * np.pi, (2, 16))
    octave = random.uniform(0, 3, 16)
    pace, height = 2 * np.pi / length * 2**octave, 2**-octave
    east = np.outer(place[0], pace * np.cos(angle))
    south = np.outer(place[1], pace * np.sin(angle)) + phase
    # sin(east + south), by the addition theorem
    waves: Floats = height * np.sin(south) @ np.cos(east).T + height * np.cos(south) @ np.sin(east).T
    waves /= np.sqrt((height**2).sum() / 2)
    return waves


def _hash(*numbers: npt.NDArray[Any]) -> Ints:
    """Pseudorandom whole numbers below 65,536, the same for the same whole numbers."""
    mixed = np.zeros(1, np.int64)
    for number in numbers:
        mixed = _SHUFFLED[(mixed + number.astype(np.int64)) % _SHUFFLED.size]
    return mixed
