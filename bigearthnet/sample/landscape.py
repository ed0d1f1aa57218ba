"""Procedural land of the sample: class maps and matching reflectance, seamless across patches."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bigearthnet.classes import UNCLASSIFIED
from bigearthnet.names import BANDS, PATCH_PIXELS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Place = tuple[Ints, Ints]
Pixels = npt.NDArray[np.uint16]

_MARGIN = 4  # pixels around a patch, for slopes and the blur at its edges
_INSIDE = slice(_MARGIN, _MARGIN + PATCH_PIXELS)
_COVER_CELL = 480  # pixels: side of a square with one cloud or one field of snow
_NOISE = 14.0  # standard deviation, reflectance × 10,000, as over a real sea patch


@dataclass(frozen=True, slots=True)
class Region:
    """Land of a tile: CLC codes (common ones several times), and levels from 0 to 1."""

    farmland: tuple[int, ...]
    woods: tuple[int, ...]  # neighbours in the tuple are neighbours on the ground
    wild: tuple[int, ...]
    treeline: float = 0.53  # forest grows where its field is above this
    sea: float = 0.0  # the sea is where the ground is below this
    snow: bool = False  # some patches are covered by snow instead of clouds


@dataclass(frozen=True, slots=True)
class Land:
    """A patch of land: `codes` is its reference map, (120, 120); the other arrays are (128, 128)."""

    codes: Pixels
    materials: Ints  # rows in the table of spectra
    light: Floats  # factor on the reflectance
    cover: Floats  # share of cloud or snow, 0 to 1
    snow: bool
    cloud_or_shadow: bool


# Surface reflectance × 10,000 in the order of BANDS: rounded, typical of Sentinel-2.
_SPECTRA: Final[dict[str, tuple[int, ...]]] = {
    "sea": (255, 215, 200, 128, 118, 112, 110, 104, 100, 98, 88, 102),
    "lake": (150, 150, 185, 120, 125, 110, 105, 98, 90, 70, 55, 95),
    "river": (210, 245, 350, 270, 260, 190, 180, 165, 150, 100, 80, 160),
    "sand": (1250, 1600, 2050, 2350, 2500, 2600, 2700, 2800, 2850, 3300, 2900, 2800),
    "broadleaf": (150, 205, 430, 210, 720, 2500, 3100, 3300, 3350, 1650, 720, 3400),
    "conifer": (130, 165, 285, 175, 430, 1300, 1580, 1700, 1750, 850, 410, 1780),
    "clearing": (260, 360, 590, 620, 980, 1700, 1950, 2050, 2100, 2100, 1250, 2150),
    "shrub": (230, 300, 540, 410, 900, 1950, 2300, 2450, 2500, 1850, 1000, 2550),
    "meadow": (240, 320, 700, 370, 1050, 2900, 3500, 3700, 3700, 2050, 1050, 3750),
    "hay": (350, 480, 860, 690, 1250, 2500, 2850, 3000, 3050, 2450, 1450, 3050),
    "dry_grass": (480, 640, 980, 1130, 1500, 2050, 2250, 2400, 2450, 3000, 2000, 2500),
    "heath": (270, 340, 500, 540, 850, 1500, 1700, 1800, 1850, 1900, 1150, 1900),
    "green_crop": (215, 270, 590, 260, 860, 3500, 4400, 4600, 4500, 1750, 760, 4650),
    "dark_crop": (210, 260, 470, 290, 760, 2500, 3000, 3200, 3200, 1850, 900, 3250),
    "ripe_crop": (480, 680, 1070, 1300, 1700, 2400, 2650, 2800, 2850, 2900, 1850, 2900),
    "soil": (520, 680, 900, 1130, 1330, 1480, 1580, 1700, 1780, 2500, 2100, 1850),
    "vines": (340, 450, 680, 720, 1080, 1800, 2050, 2200, 2250, 2350, 1550, 2300),
    "reeds": (220, 300, 520, 430, 820, 1650, 1900, 2050, 2050, 1400, 750, 2050),
    "asphalt": (780, 880, 960, 1000, 1080, 1180, 1250, 1320, 1380, 1500, 1350, 1400),
    "tiles": (720, 830, 1080, 1620, 1850, 2000, 2100, 2200, 2250, 2450, 2200, 2250),
    "concrete": (1500, 1750, 1900, 2000, 2050, 2100, 2150, 2250, 2250, 2300, 2050, 2250),
    "bright_roof": (3300, 3700, 3900, 4000, 4050, 4050, 4050, 4100, 3900, 3700, 3300, 4050),
    "cloud": (6900, 7200, 7100, 7300, 7400, 7500, 7600, 7700, 6000, 5200, 4300, 7700),
    "snow": (8300, 8700, 8600, 8500, 8400, 8200, 8000, 7800, 6000, 1100, 900, 7500),
}
# For each code: side of its parcels in pixels, their materials, the material of scattered spots, and the
# level of a smooth field above which there is a spot.
_COVERS: Final[dict[int, tuple[int, str, str, float]]] = {
    111: (2, "tiles concrete tiles asphalt concrete asphalt bright_roof", "shrub", 0.72),
    112: (2, "tiles shrub asphalt meadow concrete shrub tiles", "shrub", 0.55),
    121: (9, "concrete asphalt bright_roof concrete asphalt hay", "asphalt", 0.6),
    211: (18, "green_crop ripe_crop soil dark_crop green_crop soil meadow", "broadleaf", 0.85),
    221: (11, "vines vines soil vines shrub", "broadleaf", 0.8),
    223: (14, "vines shrub dry_grass vines", "shrub", 0.55),
    231: (15, "meadow meadow hay meadow green_crop", "broadleaf", 0.74),
    242: (7, "meadow hay green_crop soil dark_crop ripe_crop vines", "broadleaf", 0.72),
    243: (10, "meadow hay green_crop dark_crop soil", "broadleaf", 0.58),
    244: (26, "dry_grass hay dry_grass ripe_crop", "broadleaf", 0.6),
    311: (99, "broadleaf", "shrub", 0.76),
    312: (99, "conifer", "clearing", 0.78),
    313: (99, "conifer", "broadleaf", 0.5),
    321: (99, "dry_grass", "hay", 0.52),
    322: (99, "heath", "shrub", 0.58),
    323: (99, "shrub", "dry_grass", 0.58),
    324: (99, "clearing", "conifer", 0.55),
    331: (99, "sand", "dry_grass", 0.75),
    411: (99, "reeds", "lake", 0.62),
    412: (99, "heath", "reeds", 0.52),
    421: (99, "reeds", "river", 0.58),
    511: (99, "river", "lake", 0.9),
    512: (99, "lake", "sea", 0.9),
    523: (99, "sea", "lake", 0.9),
    UNCLASSIFIED: (12, "asphalt concrete", "concrete", 0.7),
}
_ROUGH: Final = {"broadleaf": 0.9, "conifer": 0.8, "shrub": 0.8, "clearing": 0.7, "heath": 0.6}
_NAMES: Final = tuple(_SPECTRA)
_BY_BAND: Final = dict(zip(BANDS, np.array(list(_SPECTRA.values()), np.float64).T, strict=True))
_ROUGHNESS: Final = np.array([_ROUGH.get(name, 0.2) for name in _NAMES])
_CODES: Final = np.array(list(_COVERS))
_SIDES: Final = np.array([side for side, _, _, _ in _COVERS.values()], np.int32)
_LEVELS: Final = np.array([level for _, _, _, level in _COVERS.values()])
_LYING: Final = np.array([np.resize([_NAMES.index(m) for m in c[1].split()], 60) for c in _COVERS.values()])
_SCATTERED: Final = np.array([_NAMES.index(spots) for _, _, spots, _ in _COVERS.values()])
_DIRECTIONS: Final = np.array(((64, 0), (59, 25), (45, 45), (25, 59), (62, 16), (38, 51), (16, 62)), np.int32)
"""Directions of parcels: about 64 times cosine and sine."""


def survey(region: Region, *, key: int, season: int, column: int, row: int) -> Land:
    """Draw a patch: the land of `key`, with the crops and weather of `season`."""
    at = np.arange(-_MARGIN, PATCH_PIXELS + _MARGIN)
    place = (column * PATCH_PIXELS + at, row * PATCH_PIXELS + at)
    ground = _field(key + 1, 480, 4, place)
    block, zone, gap = _blocks(key + 2, 76, place)
    codes = _classes(region, key, ground, (block, zone), place)
    materials, light = _materials(codes, key, season, block, place)
    materials[(gap < 1.6) & (block % 2 == 0) & (codes < 330)] = _NAMES.index("asphalt")
    if region.snow:
        cover = _disc(season, 90, place) * np.select([codes > 500, codes // 10 == 31], [0.0, 0.45], 0.95)
        shade = np.zeros_like(cover)
    else:
        cover = _disc(season, 64, place)
        shade = _disc(season, 64, (place[0] + 30, place[1] + 24))
    slope = np.where(codes > 500, 0, ground - np.roll(ground, (1, 1), (0, 1)))
    light *= (1 + 9 * slope) * (1 - 0.65 * shade)
    covered = bool((np.maximum(cover, shade)[_INSIDE, _INSIDE] > 0.1).any())
    codes = codes[_INSIDE, _INSIDE]
    return Land(
        codes.astype(np.uint16), materials, light, cover, covered and region.snow, covered and not region.snow
    )


def reflectance(land: Land, *, band: str, side: int, noise: np.random.Generator) -> Pixels:
    """Draw a band: reflectance × 10,000 of shape (side, side), 120, 60 or 20; never 0, which is nodata."""
    veil = _BY_BAND[band][_NAMES.index("snow" if land.snow else "cloud")]
    seen = _BY_BAND[band][land.materials] * land.light
    if land.cover.any():
        seen += land.cover * (veil * (0.6 + 0.4 * land.light) - seen)
    if side == PATCH_PIXELS:
        seen[:, 1:-1] += 0.16 * (seen[:, :-2] + seen[:, 2:] - 2 * seen[:, 1:-1])
        seen[1:-1] += 0.16 * (seen[:-2] + seen[2:] - 2 * seen[1:-1])
        pixels = seen[_INSIDE, _INSIDE]
    else:
        pixels = seen[_INSIDE, _INSIDE].reshape(side, PATCH_PIXELS // side, side, -1).mean(1).mean(2)
    noisy = pixels + _NOISE * noise.standard_normal((side, side))
    return np.asarray(np.rint(noisy.clip(1, 20000)), np.uint16)


def _classes(region: Region, key: int, ground: Floats, blocks: tuple[Ints, Ints], place: Place) -> Ints:
    """CLC code of each pixel: farmland by blocks, the rest by levels of smooth fields."""
    forest, people, kind = (_field(key + n, 300, 3, place) for n in (100, 200, 300))
    river, lakes = _field(key + 500, 480, 3, place), _field(key + 400, 240, 3, place)
    block, zone = blocks
    codes = np.take(region.farmland, zone % len(region.farmland))
    codes = np.where(block % 8 == 0, np.take(region.wild, zone % len(region.wild)), codes)
    woods = ((kind - 0.3) * 2.5 * len(region.woods)).astype(np.int64).clip(0, len(region.woods) - 1)
    codes = np.where(forest > region.treeline, np.take(region.woods, woods), codes)
    codes[(abs(forest - region.treeline) < 0.012) & (kind > 0.6)] = 324
    codes[people > 0.65] = 112
    codes[(people > 0.635) & (block % 5 == 0)] = 121
    codes[people > 0.75] = 111
    codes[(lakes > 0.68) & (kind > 0.5)] = 411
    codes[lakes > 0.71] = 512
    codes[abs(river - 0.5) < 0.0035] = 511
    codes[_field(key, 50, 2, place) > 0.9] = UNCLASSIFIED
    if region.sea:
        codes = np.where(ground < region.sea + 0.012, np.where(kind > 0.42, 331, 421), codes)
        codes[ground < region.sea] = 523
    return codes


def _materials(codes: Ints, key: int, season: int, block: Ints, place: Place) -> tuple[Ints, Floats]:
    """Material and light of each pixel: parcels, trees, houses, streets."""
    cover = np.searchsorted(_CODES, codes)
    east, south = np.moveaxis(_DIRECTIONS[block % len(_DIRECTIONS)], 2, 0)
    xs, ys = place[0].astype(np.int32), place[1][:, None].astype(np.int32)
    along, across, side = xs * east + ys * south, ys * east - xs * south, 64 * _SIDES[cover]
    parcel = _hash(season + block, along // side, across // (2 * side))
    spots, fine = _field(key + 600, 12, 2, place), _field(key + 700, 4, 2, place)
    materials = np.where(spots > _LEVELS[cover], _SCATTERED[cover], _LYING[cover, parcel % 60])
    light = 0.84 + 0.32 * ((parcel >> 8) % 256) / 256
    light[(along % side < 64) & (side > 64 * 6)] *= 0.82
    street = (codes < 140) & ((along % (64 * 11) < 80) | (across % (64 * 16) < 80))
    materials[street] = _NAMES.index("asphalt")
    light[street | (codes > 300)] = 1
    return materials, light * (1 + _ROUGHNESS[materials] * (fine + spots - 1))


def _disc(season: int, radius: int, place: Place) -> Floats:
    """Clouds, shadows or snow, 0 to 1: one ragged disc in each cell."""
    (xs, ys), deep = place, np.zeros((place[1].size, place[0].size))
    for x in range(xs[0] // _COVER_CELL, xs[-1] // _COVER_CELL + 1):
        for y in range(ys[0] // _COVER_CELL, ys[-1] // _COVER_CELL + 1):
            roll = int(_hash(season, np.array([x]), np.array([y]))[0])
            dx = xs - x * _COVER_CELL - 140 - roll % 200
            dy = ys - y * _COVER_CELL - 140 - (roll >> 8) % 200
            deep = np.maximum(deep, 1 - np.sqrt(dx**2 + dy[:, None] ** 2) / radius)
    if not deep.any():
        return deep
    return ((deep - _field(season + 9, 60, 5, place) + 0.1) * 5 * (deep > 0)).clip(0, 1)


def _blocks(key: int, cell: int, place: Place) -> tuple[Ints, Ints, Floats]:
    """Voronoi polygons: number, neighbourhood, and distance to the border of each pixel's polygon."""
    (xs, ys), lattice = place, [np.arange(at[0] // cell - 1, at[-1] // cell + 2) for at in place]
    gx, gy = (grid.ravel() for grid in np.meshgrid(*lattice))
    number = _hash(key, gx, gy)
    zone = np.where(number % 3 == 0, number >> 8, _hash(key, gx // 3, gy // 3))
    dxs = (xs - (gx * cell + cell // 6 + number % (cell * 2 // 3))[:, None]).astype(np.int32) ** 2
    dys = (ys - (gy * cell + cell // 6 + (number >> 12) % (cell * 2 // 3))[:, None]).astype(np.int32) ** 2
    far = np.full((ys.size, xs.size), 1 << 30, np.int32)
    near, owner = far, np.zeros_like(far)
    for n in range(gx.size):
        distance = dxs[n] + dys[n][:, None]
        owner[distance < near] = n
        far, near = np.minimum(far, np.maximum(near, distance)), np.minimum(near, distance)
    return number[owner], zone[owner], np.sqrt(far) - np.sqrt(near)


def _field(key: int, cell: int, octaves: int, place: Place) -> Floats:
    """Smooth noise about 0.5, within 0 to 1: bumps of `cell` pixels, and finer ones of half the height."""
    total = np.zeros((place[1].size, place[0].size))
    for octave in range(octaves):
        step = cell >> octave
        lattice = [np.arange(at[0] // step, at[-1] // step + 2) for at in place]
        heights = (_hash(key + octave, lattice[0], lattice[1][:, None]) % 1024).astype(np.int32)
        for axis, at, points in zip((1, 0), place, lattice, strict=True):
            t = at % step * 1024 // step  # smoothstep in integers, so that it is exact
            share = np.expand_dims(((t * t * (3072 - 2 * t)) >> 20).astype(np.int32), 1 - axis)
            low, high = (heights.take(at // step - points[0] + n, axis) for n in (0, 1))
            heights = low * 1024 + (high - low) * share
        total += heights * 2.0 ** -(30 + octave)
    return total / (2 - 2.0 ** (1 - octaves))


def _hash(key: int | Ints, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Ints:
    """Pseudorandom numbers below 2^24 for keys and places (mixed as in splitmix64)."""
    mixed = (key + x.astype(np.int64) * 0x1F123BB5 + y.astype(np.int64) * 0x5851F42D).astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(40)).astype(np.int64)
