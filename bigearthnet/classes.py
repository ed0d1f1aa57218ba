"""The CORINE Land Cover (CLC) 2018 classes, BigEarthNet's 19 classes, and the four forms of masks.

`classes.csv` has a line for each of the 44 level-3 classes in the official order, and a last one for pixels
without a class: code, name, colour, and which of the 19 classes it belongs to.

Sources: the CLC 2018 nomenclature and its official colours (European Environment Agency), and the
19-class nomenclature of BigEarthNet (Sumbul et al. 2021; Clasen et al. 2025).
"""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

MaskForm = Literal["clc", "clc_l3", "clc_l1", "ben19"]
MASK_FORMS: Final[tuple[MaskForm, ...]] = get_args(MaskForm)

DETAILED_FORMS: Final[frozenset[MaskForm]] = frozenset({"clc", "clc_l3"})
"""Forms that tell the CLC code of each pixel, so that the other forms can be made of them."""

UNCLASSIFIED = 999
"""Code of a pixel without a CLC class in a reference map."""
UNLABELLED = 255
"""Value in a `ben19` mask of a pixel that belongs to none of the 19 classes."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LandClass:
    """A class: its CLC code or value in a mask, its English name, and its colour (RGB)."""

    value: int
    name: str
    colour: Colour


def _colour(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


with Path(__file__).with_name("classes.csv").open(encoding="utf-8", newline="") as _file:
    _LINES: Final = list(csv.DictReader(_file))

CLC: Final = tuple(LandClass(int(line["clc"]), line["name"], _colour(line["colour"])) for line in _LINES)
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

BEN19: Final[tuple[tuple[str, tuple[int, ...]], ...]] = tuple(
    (name, tuple(int(line["clc"]) for line in _LINES if line["ben19"] == name))
    for name in dict.fromkeys(line["ben19"] for line in _LINES)
    if name
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


def ignore_index(form: MaskForm) -> int:
    """Return the value of pixels without a class in a mask of `form`."""
    return int(mask_values(form)[len(CLC)])


def label_bits(form: MaskForm) -> npt.NDArray[np.uint32] | None:
    """Return the class of `BEN19` that each value of a mask of `form` belongs to, as bit i: (1000,).

    Returns:
        None for `clc_l1`, whose groups have several of the classes.
    """
    if form == "clc_l1":
        return None
    bits = np.zeros(1000, np.uint32)
    for (value, _), clc in zip(_classes(form), CLC, strict=True):
        bits[value] = sum(1 << i for i, (_, codes) in enumerate(BEN19) if clc.value in codes)
    return bits


def clc_codes() -> list[dict[str, int | str]]:
    """List the codes of reference maps with their names, and their values in the other forms of masks."""
    others = [form for form in MASK_FORMS if form != "clc"]
    values = {form: [value for value, _ in _classes(form)] for form in others}
    return [
        {"code": clc.value, "name": clc.name, **{form: values[form][i] for form in others}}
        for i, clc in enumerate(CLC)
    ]


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
