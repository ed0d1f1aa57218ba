"""The CORINE Land Cover (CLC) 2018 classes, BigEarthNet's 19 classes, and the four forms of masks.

Sources: the CLC 2018 nomenclature and its official colours (European Environment Agency), and the
19-class nomenclature of BigEarthNet (Sumbul et al. 2021; Clasen et al. 2025).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

MaskForm = Literal["clc", "clc_l3", "clc_l1", "ben19"]
MASK_FORMS: Final[tuple[MaskForm, ...]] = get_args(MaskForm)

UNCLASSIFIED = 999
"""Code of a pixel without a CLC class in a reference map."""
UNLABELLED = 255
"""Value in a `ben19` mask of a pixel that belongs to none of the 19 classes."""


@dataclass(frozen=True, slots=True)
class LandClass:
    """A class: its CLC code or value in a mask, its English name, and its colour (RGB)."""

    value: int
    name: str
    colour: tuple[int, int, int]


CLC: Final = (
    LandClass(111, "Continuous urban fabric", (230, 0, 77)),
    LandClass(112, "Discontinuous urban fabric", (255, 0, 0)),
    LandClass(121, "Industrial or commercial units", (204, 77, 242)),
    LandClass(122, "Road and rail networks and associated land", (204, 0, 0)),
    LandClass(123, "Port areas", (230, 204, 204)),
    LandClass(124, "Airports", (230, 204, 230)),
    LandClass(131, "Mineral extraction sites", (166, 0, 204)),
    LandClass(132, "Dump sites", (166, 77, 0)),
    LandClass(133, "Construction sites", (255, 77, 255)),
    LandClass(141, "Green urban areas", (255, 166, 255)),
    LandClass(142, "Sport and leisure facilities", (255, 230, 255)),
    LandClass(211, "Non-irrigated arable land", (255, 255, 168)),
    LandClass(212, "Permanently irrigated land", (255, 255, 0)),
    LandClass(213, "Rice fields", (230, 230, 0)),
    LandClass(221, "Vineyards", (230, 128, 0)),
    LandClass(222, "Fruit trees and berry plantations", (242, 166, 77)),
    LandClass(223, "Olive groves", (230, 166, 0)),
    LandClass(231, "Pastures", (230, 230, 77)),
    LandClass(241, "Annual crops associated with permanent crops", (255, 230, 166)),
    LandClass(242, "Complex cultivation patterns", (255, 230, 77)),
    LandClass(
        243,
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        (230, 204, 77),
    ),
    LandClass(244, "Agro-forestry areas", (242, 204, 166)),
    LandClass(311, "Broad-leaved forest", (128, 255, 0)),
    LandClass(312, "Coniferous forest", (0, 166, 0)),
    LandClass(313, "Mixed forest", (77, 255, 0)),
    LandClass(321, "Natural grasslands", (204, 242, 77)),
    LandClass(322, "Moors and heathland", (166, 255, 128)),
    LandClass(323, "Sclerophyllous vegetation", (166, 230, 77)),
    LandClass(324, "Transitional woodland-shrub", (166, 242, 0)),
    LandClass(331, "Beaches, dunes, sands", (230, 230, 230)),
    LandClass(332, "Bare rocks", (204, 204, 204)),
    LandClass(333, "Sparsely vegetated areas", (204, 255, 204)),
    LandClass(334, "Burnt areas", (0, 0, 0)),
    LandClass(335, "Glaciers and perpetual snow", (166, 230, 204)),
    LandClass(411, "Inland marshes", (166, 166, 255)),
    LandClass(412, "Peat bogs", (77, 77, 255)),
    LandClass(421, "Salt marshes", (204, 204, 255)),
    LandClass(422, "Salines", (230, 230, 255)),
    LandClass(423, "Intertidal flats", (166, 166, 230)),
    LandClass(511, "Water courses", (0, 204, 242)),
    LandClass(512, "Water bodies", (128, 242, 230)),
    LandClass(521, "Coastal lagoons", (0, 255, 166)),
    LandClass(522, "Estuaries", (166, 255, 230)),
    LandClass(523, "Sea and ocean", (230, 242, 255)),
    LandClass(UNCLASSIFIED, "Unclassified", (255, 255, 255)),
)
"""The 44 level-3 classes in the official order, then unclassified."""

CLC_L1: Final = (
    "Artificial surfaces",
    "Agricultural areas",
    "Forest and semi-natural areas",
    "Wetlands",
    "Water bodies",
    "Unclassified",
)
"""Level 1, values 1 to 6; 1 to 5 are the first digits of the codes."""

BEN19: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("Urban fabric", (111, 112)),
    ("Industrial or commercial units", (121,)),
    ("Arable land", (211, 212, 213)),
    ("Permanent crops", (221, 222, 223, 241)),
    ("Pastures", (231,)),
    ("Complex cultivation patterns", (242,)),
    ("Land principally occupied by agriculture, with significant areas of natural vegetation", (243,)),
    ("Agro-forestry areas", (244,)),
    ("Broad-leaved forest", (311,)),
    ("Coniferous forest", (312,)),
    ("Mixed forest", (313,)),
    ("Natural grassland and sparsely vegetated areas", (321, 333)),
    ("Moors, heathland and sclerophyllous vegetation", (322, 323)),
    ("Transitional woodland, shrub", (324,)),
    ("Beaches, dunes, sands", (331,)),
    ("Inland wetlands", (411, 412)),
    ("Coastal wetlands", (421, 422)),
    ("Inland waters", (511, 512)),
    ("Marine waters", (521, 522, 523)),
)
"""BigEarthNet's 19 classes in CLC order (values 0 to 18), and the CLC codes of each."""


@lru_cache(maxsize=1)
def clc_positions() -> npt.NDArray[np.uint8]:
    """Return the position in `CLC` plus one (1 to 45) of each code, and 0 of other numbers: (65536,)."""
    positions = np.zeros(65536, np.uint8)
    positions[[c.value for c in CLC]] = np.arange(1, len(CLC) + 1)
    positions.flags.writeable = False
    return positions


@lru_cache(maxsize=len(MASK_FORMS))
def mask_values(form: MaskForm) -> npt.NDArray[np.uint16]:
    """Return the value in a mask of `form` of each position that `clc_positions` gives: (256,)."""
    values = np.zeros(256, np.uint16)
    values[1 : len(CLC) + 1] = [value for value, _ in _classes(form)]
    values.flags.writeable = False
    return values


def mask_classes(form: MaskForm) -> tuple[LandClass, ...]:
    """List the values of a mask of `form`, ascending, with names and colours.

    A class that joins several CLC classes has the colour of the first; unlabelled pixels are white.
    """
    found: dict[int, LandClass] = {}
    for (value, name), clc in zip(_classes(form), CLC, strict=True):
        colour = CLC[-1].colour if value == UNLABELLED else clc.colour
        found.setdefault(value, LandClass(value, name, colour))
    return tuple(found[value] for value in sorted(found))


def _classes(form: MaskForm) -> list[tuple[int, str]]:
    """Value and name of each entry of `CLC` in a mask of `form`."""
    if form == "clc":
        return [(c.value, c.name) for c in CLC]
    if form == "clc_l3":
        return [(position, c.name) for position, c in enumerate(CLC, start=1)]
    if form == "clc_l1":
        levels = [min(c.value // 100, len(CLC_L1)) for c in CLC]
        return [(level, CLC_L1[level - 1]) for level in levels]
    ben19 = {code: (value, name) for value, (name, codes) in enumerate(BEN19) for code in codes}
    return [ben19.get(c.value, (UNLABELLED, "Unlabelled")) for c in CLC]
