from typing import get_args

import numpy as np
import pytest

from bigearthnet import classes
from bigearthnet.classes import BEN19, CLC, CLC_L1, MASK_FORMS, MaskForm

# Transcribed from the description of the dataset, independently of the module.
CODES = """
111 112 121 122 123 124 131 132 133 141 142
211 212 213 221 222 223 231 241 242 243 244
311 312 313 321 322 323 324 331 332 333 334 335
411 412 421 422 423
511 512 521 522 523
"""
COLOURS = """
230,0,77 · 255,0,0 · 204,77,242 · 204,0,0 · 230,204,204 · 230,204,230 ·
166,0,204 · 166,77,0 · 255,77,255 · 255,166,255 · 255,230,255 · 255,255,168 ·
255,255,0 · 230,230,0 · 230,128,0 · 242,166,77 · 230,166,0 · 230,230,77 ·
255,230,166 · 255,230,77 · 230,204,77 · 242,204,166 · 128,255,0 · 0,166,0 ·
77,255,0 · 204,242,77 · 166,255,128 · 166,230,77 · 166,242,0 · 230,230,230 ·
204,204,204 · 204,255,204 · 0,0,0 · 166,230,204 · 166,166,255 · 77,77,255 ·
204,204,255 · 230,230,255 · 166,166,230 · 0,204,242 · 128,242,230 · 0,255,166 ·
166,255,230 · 230,242,255
"""
CLASSES = """
Urban fabric | 111 112
Industrial or commercial units | 121
Arable land | 211 212 213
Permanent crops | 221 222 223 241
Pastures | 231
Complex cultivation patterns | 242
Land principally occupied by agriculture, with significant areas of natural vegetation | 243
Agro-forestry areas | 244
Broad-leaved forest | 311
Coniferous forest | 312
Mixed forest | 313
Natural grassland and sparsely vegetated areas | 321 333
Moors, heathland and sclerophyllous vegetation | 322 323
Transitional woodland, shrub | 324
Beaches, dunes, sands | 331
Inland wetlands | 411 412
Coastal wetlands | 421 422
Inland waters | 511 512
Marine waters | 521 522 523
"""
UNLABELLED = "122 123 124 131 132 133 141 142 332 334 335 423 999"

codes = [*map(int, CODES.split()), 999]
colours = [tuple(map(int, colour.split(","))) for colour in COLOURS.split("·")] + [(255, 255, 255)]
ben19 = [
    (name, [int(code) for code in of_class.split()])
    for name, of_class in (line.split(" | ") for line in CLASSES.strip().split("\n"))
]
NAMES: dict[MaskForm, list[tuple[int, str]]] = {
    "clc": [(c.value, c.name) for c in CLC],
    "clc_l3": list(enumerate((c.name for c in CLC), start=1)),
    "clc_l1": list(enumerate(CLC_L1, start=1)),
    "ben19": [*enumerate(name for name, _ in ben19), (255, "Unlabelled")],
}


def value_of(code: int, form: MaskForm) -> int:
    if form == "clc":
        return code
    if form == "clc_l3":
        return codes.index(code) + 1
    if form == "clc_l1":
        return 6 if code == 999 else int(str(code)[0])
    return next((i for i, (_, of_class) in enumerate(ben19) if code in of_class), 255)


def test_the_tables_are_those_of_the_dataset() -> None:
    assert (len(codes), len(colours), len(ben19)) == (45, 45, 19)
    assert [(c.value, c.colour) for c in CLC] == list(zip(codes, colours, strict=True))
    assert len({c.name for c in CLC}) == 45
    assert [(name, list(of_class)) for name, of_class in BEN19] == ben19
    assert [str(code) for code in codes if value_of(code, "ben19") == 255] == UNLABELLED.split()
    assert get_args(MaskForm) == MASK_FORMS == ("clc", "clc_l3", "clc_l1", "ben19")


def test_each_possible_code_has_its_position_or_none() -> None:
    positions = classes.clc_positions()
    assert (positions.shape, positions.dtype) == ((65536,), np.dtype(np.uint8))
    assert not positions.flags.writeable
    found = {code: int(positions[code]) for code in np.flatnonzero(positions).tolist()}
    assert found == {code: i for i, code in enumerate(codes, start=1)}


@pytest.mark.parametrize("form", MASK_FORMS)
def test_each_code_has_its_value(form: MaskForm) -> None:
    values = classes.mask_values(form)
    assert (values.shape, values.dtype) == ((256,), np.dtype(np.uint16))
    assert not values.flags.writeable
    assert values.tolist() == [0, *(value_of(code, form) for code in codes), *([0] * 210)]


@pytest.mark.parametrize("form", MASK_FORMS)
def test_each_value_has_its_name_and_the_colour_of_its_first_code(form: MaskForm) -> None:
    listed = classes.mask_classes(form)
    first = {
        value_of(code, form): colour for code, colour in reversed(list(zip(codes, colours, strict=True)))
    }
    if form == "ben19":
        first[255] = (255, 255, 255)
    assert [(c.value, c.name) for c in listed] == NAMES[form]
    assert {c.value: c.colour for c in listed} == first


@pytest.mark.parametrize("form", MASK_FORMS)
def test_each_form_has_its_value_of_pixels_without_a_class(form: MaskForm) -> None:
    assert classes.ignore_index(form) == value_of(999, form)


@pytest.mark.parametrize("form", MASK_FORMS)
def test_each_value_has_its_label(form: MaskForm) -> None:
    bits = classes.label_bits(form)
    if form == "clc_l1":
        assert bits is None
        return
    assert bits is not None
    for code in codes:
        label = value_of(code, "ben19")
        assert bits[value_of(code, form)] == (0 if label == 255 else 1 << label)
    assert np.count_nonzero(bits) == len({value_of(c, form) for c in codes if value_of(c, "ben19") != 255})


def test_codes_are_listed_with_their_values_in_the_other_forms() -> None:
    others = ("clc_l3", "clc_l1", "ben19")
    assert [{key: one[key] for key in ("code", *others)} for one in classes.clc_codes()] == [
        {"code": code, **{form: value_of(code, form) for form in others}}  # type: ignore[arg-type]
        for code in codes
    ]
