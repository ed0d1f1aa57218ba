"""Classes: the CORINE Land Cover 2018 nomenclature, BigEarthNet's 19 classes, and the four mask forms.

Sources: the CLC 2018 nomenclature and its official colours (European Environment Agency), and the
19-class nomenclature of BigEarthNet (Sumbul et al. 2021; Clasen et al. 2025).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

MaskForm = Literal["clc", "clc_l3", "clc_l1", "ben19"]
MASK_FORMS: Final[tuple[MaskForm, ...]] = ("clc", "clc_l3", "clc_l1", "ben19")

UNCLASSIFIED = 999
"""The code of a reference map's pixel that has no CLC class."""
UNLABELLED = 255
"""The value of a pixel in `ben19` whose code belongs to none of the 19 classes."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ClcClass:
    """A level-3 class of CORINE Land Cover: code, English name, official colour (RGB)."""

    code: int
    name: str
    colour: Colour


CLC: Final = (
    ClcClass(111, "Continuous urban fabric", (230, 0, 77)),
    ClcClass(112, "Discontinuous urban fabric", (255, 0, 0)),
    ClcClass(121, "Industrial or commercial units", (204, 77, 242)),
    ClcClass(122, "Road and rail networks and associated land", (204, 0, 0)),
    ClcClass(123, "Port areas", (230, 204, 204)),
    ClcClass(124, "Airports", (230, 204, 230)),
    ClcClass(131, "Mineral extraction sites", (166, 0, 204)),
    ClcClass(132, "Dump sites", (166, 77, 0)),
    ClcClass(133, "Construction sites", (255, 77, 255)),
    ClcClass(141, "Green urban areas", (255, 166, 255)),
    ClcClass(142, "Sport and leisure facilities", (255, 230, 255)),
    ClcClass(211, "Non-irrigated arable land", (255, 255, 168)),
    ClcClass(212, "Permanently irrigated land", (255, 255, 0)),
    ClcClass(213, "Rice fields", (230, 230, 0)),
    ClcClass(221, "Vineyards", (230, 128, 0)),
    ClcClass(222, "Fruit trees and berry plantations", (242, 166, 77)),
    ClcClass(223, "Olive groves", (230, 166, 0)),
    ClcClass(231, "Pastures", (230, 230, 77)),
    ClcClass(241, "Annual crops associated with permanent crops", (255, 230, 166)),
    ClcClass(242, "Complex cultivation patterns", (255, 230, 77)),
    ClcClass(
        243,
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        (230, 204, 77),
    ),
    ClcClass(244, "Agro-forestry areas", (242, 204, 166)),
    ClcClass(311, "Broad-leaved forest", (128, 255, 0)),
    ClcClass(312, "Coniferous forest", (0, 166, 0)),
    ClcClass(313, "Mixed forest", (77, 255, 0)),
    ClcClass(321, "Natural grasslands", (204, 242, 77)),
    ClcClass(322, "Moors and heathland", (166, 255, 128)),
    ClcClass(323, "Sclerophyllous vegetation", (166, 230, 77)),
    ClcClass(324, "Transitional woodland-shrub", (166, 242, 0)),
    ClcClass(331, "Beaches, dunes, sands", (230, 230, 230)),
    ClcClass(332, "Bare rocks", (204, 204, 204)),
    ClcClass(333, "Sparsely vegetated areas", (204, 255, 204)),
    ClcClass(334, "Burnt areas", (0, 0, 0)),
    ClcClass(335, "Glaciers and perpetual snow", (166, 230, 204)),
    ClcClass(411, "Inland marshes", (166, 166, 255)),
    ClcClass(412, "Peat bogs", (77, 77, 255)),
    ClcClass(421, "Salt marshes", (204, 204, 255)),
    ClcClass(422, "Salines", (230, 230, 255)),
    ClcClass(423, "Intertidal flats", (166, 166, 230)),
    ClcClass(511, "Water courses", (0, 204, 242)),
    ClcClass(512, "Water bodies", (128, 242, 230)),
    ClcClass(521, "Coastal lagoons", (0, 255, 166)),
    ClcClass(522, "Estuaries", (166, 255, 230)),
    ClcClass(523, "Sea and ocean", (230, 242, 255)),
    ClcClass(UNCLASSIFIED, "Unclassified", (255, 255, 255)),
)
"""The 44 classes in the nomenclature's order, and unclassified as the 45th."""

CLC_L1: Final = (
    "Artificial surfaces",
    "Agricultural areas",
    "Forest and semi-natural areas",
    "Wetlands",
    "Water bodies",
    "Unclassified",
)
"""Level 1: values 1 to 5 are the first digit of the code, 6 is unclassified."""

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
"""BigEarthNet's 19 classes in CLC order (value 0 to 18), and the codes each takes."""


@dataclass(frozen=True, slots=True)
class MaskClass:
    """A value that a mask can hold, and what it means."""

    value: int
    name: str
    colour: Colour


@lru_cache(maxsize=1)
def clc_positions() -> npt.NDArray[np.uint8]:
    """Position in `CLC` plus one (1 to 45) of each possible code; 0 where there is no such code.

    Returns:
        uint8 of shape (65536,), read-only.
    """
    positions = np.zeros(65536, np.uint8)
    positions[[c.code for c in CLC]] = np.arange(1, len(CLC) + 1)
    positions.flags.writeable = False
    return positions


@lru_cache(maxsize=len(MASK_FORMS))
def mask_values(form: MaskForm) -> npt.NDArray[np.uint16]:
    """Value in a mask of `form` for each position that `clc_positions` gives.

    Returns:
        uint16 of shape (46,), read-only; element 0 stands for no class and is 0.
    """
    values = np.zeros(len(CLC) + 1, np.uint16)
    values[1:] = [_value(c.code, position, form) for position, c in enumerate(CLC, start=1)]
    values.flags.writeable = False
    return values


def mask_classes(form: MaskForm) -> tuple[MaskClass, ...]:
    """Every value that a mask of `form` can hold, with name and colour, by ascending value.

    A class that joins several CLC classes has the colour of the first of them.
    """
    colours = {c.code: c.colour for c in CLC}
    if form == "clc":
        return tuple(MaskClass(c.code, c.name, c.colour) for c in CLC)
    if form == "clc_l3":
        return tuple(MaskClass(i, c.name, c.colour) for i, c in enumerate(CLC, start=1))
    if form == "clc_l1":
        firsts = [next(c for c in CLC if _level_1(c.code) == i) for i in range(1, len(CLC_L1) + 1)]
        return tuple(
            MaskClass(i, name, c.colour)
            for i, (name, c) in enumerate(zip(CLC_L1, firsts, strict=True), start=1)
        )
    named = tuple(MaskClass(i, name, colours[codes[0]]) for i, (name, codes) in enumerate(BEN19))
    return (*named, MaskClass(UNLABELLED, "Unlabelled", colours[UNCLASSIFIED]))


def _level_1(code: int) -> int:
    return len(CLC_L1) if code == UNCLASSIFIED else code // 100


def _value(code: int, position: int, form: MaskForm) -> int:
    if form == "clc":
        return code
    if form == "clc_l3":
        return position
    if form == "clc_l1":
        return _level_1(code)
    return next((i for i, (_, codes) in enumerate(BEN19) if code in codes), UNLABELLED)
