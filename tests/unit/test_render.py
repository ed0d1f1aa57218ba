import re
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bigearthnet.classes import BEN19, CLC, MASK_FORMS, MaskForm
from bigearthnet.errors import PatchError
from bigearthnet.names import MAP, RGB_BANDS
from bigearthnet.options import Rendering
from bigearthnet.sample.archives import sample_patches
from bigearthnet.tile.render import reflectance_table, render_image, render_mask, stretch
from tests.support.archives import pixels as read
from tests.support.sample import patch_files

REAL = Path(__file__).parents[2].parent / "shared" / "data"
REAL_PATCHES = sorted(REAL.glob("BigEarthNet-S2/*/*"))

U16 = npt.NDArray[np.uint16]
U8 = npt.NDArray[np.uint8]

RENDERINGS = [
    Rendering(),
    Rendering(reflectance_max=1),
    Rendering(reflectance_max=65_535),
    Rendering(stretch="minmax"),
    Rendering(stretch="percentile"),
    Rendering(stretch="percentile", percentiles=(0, 100)),
    Rendering(stretch="percentile", percentiles=(0.5, 33.3)),
]


def by_formula(bands: U16, rendering: Rendering) -> U8:
    """The stretches as they are documented, in float64."""
    dn = bands.astype(np.float64)
    if rendering.stretch == "reflectance":
        return np.rint(np.clip(dn / rendering.reflectance_max, 0, 1) * 255).astype(np.uint8)
    if rendering.stretch == "minmax":
        out = np.zeros(bands.shape, np.uint8)
        for band, plane in zip(dn, out, strict=True):
            low, high = band.min(), band.max()
            if low < high:
                plane[...] = np.rint((band - low) * 255 / (high - low))
        return out
    low, high = (float(np.percentile(dn.ravel(), percent)) for percent in rendering.percentiles)
    if low == high:
        return np.zeros(bands.shape, np.uint8)
    return np.rint(np.clip((dn - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def from_files(files: dict[str, bytes]) -> tuple[U16, U16]:
    """Red, green and blue, and the codes, as rasterio reads them."""
    return np.concatenate([read(files[band]) for band in RGB_BANDS["true_colour"]]), read(files[MAP])[0]


@pytest.fixture(scope="module")
def patches() -> list[tuple[U16, U16]]:
    """Patches of the sample, and real ones where they are at hand."""
    found = [from_files(patch_files(patch)) for patch in sample_patches([1, 3])]
    for folder in REAL_PATCHES:
        files = {path.stem.removeprefix(f"{folder.name}_"): path.read_bytes() for path in folder.iterdir()}
        (of_map,) = REAL.glob(f"Reference_Maps/*/{folder.name}/*")
        found.append(from_files(files | {MAP: of_map.read_bytes()}))
    return found


def assert_image(image: tuple[bytes, dict[str, float]], expected: U8) -> None:
    png, sums = image
    pixels = read(png)
    assert (pixels.shape, pixels.dtype) == ((3, *expected.shape[1:]), np.dtype(np.uint8))
    np.testing.assert_array_equal(pixels, expected)
    channels = dict(zip(("red", "green", "blue"), expected.astype(np.int64), strict=True))
    squares = {f"{name}_squares": (channel**2).sum() for name, channel in channels.items()}
    extremes = {"black": (expected == 0).all(axis=0), "saturated": (expected == 255).any(axis=0)}
    for name, where in extremes.items():
        assert sums.pop(name) == pytest.approx(where.mean(), abs=1e-12)
    assert sums == {f"{name}_sum": channel.sum() for name, channel in channels.items()} | squares


@pytest.mark.parametrize("rendering", RENDERINGS, ids=str)
def test_patches_are_rendered_by_the_formulas(patches: list[tuple[U16, U16]], rendering: Rendering) -> None:
    for bands, _ in patches:
        assert_image(render_image(list(bands), rendering), by_formula(bands, rendering))


extremes = st.sampled_from([0, 1, 2, 3, 127, 999, 1000, 1001, 3000, 3001, 32_767, 65_534, 65_535])
values = extremes | st.integers(0, 65_535)
renderings = st.builds(
    Rendering,
    stretch=st.sampled_from(["reflectance", "minmax", "percentile"]),
    reflectance_max=st.integers(1, 65_535),
    percentiles=st.tuples(st.floats(0, 49.9), st.floats(50, 100)),
)


@settings(deadline=None, max_examples=300)
@example(np.full((3, 6, 5), 65_535, np.uint16), Rendering(stretch="minmax"))
@example(np.full((3, 6, 5), 65_535, np.uint16), Rendering(stretch="percentile"))
@given(arrays.arrays(np.uint16, (3, 6, 5), elements=values, fill=values), renderings)
def test_any_bands_are_rendered_by_the_formulas(bands: U16, rendering: Rendering) -> None:
    assert_image(render_image(list(bands), rendering), by_formula(bands, rendering))


@pytest.mark.parametrize("span", [255, 510, 1530, 2550, 3570, 65_534])
@pytest.mark.parametrize("low", [0, 1])
def test_halves_of_minmax_go_to_the_even_value(span: int, low: int) -> None:
    ramp = np.arange(low, low + span + 1, dtype=np.uint16)[None]
    (plane,) = stretch([ramp], Rendering(stretch="minmax"))
    # In whole numbers: the quotient, and one more if the rest is over a half, or a half and it is odd.
    quotients, rests = np.divmod(np.arange(span + 1) * 255, span)
    expected = quotients + ((2 * rests > span) | ((2 * rests == span) & (quotients % 2 == 1)))
    np.testing.assert_array_equal(plane[0], expected)


@pytest.mark.parametrize("reflectance_max", [1, 2, 254, 255, 256, 510, 3000, 10_000, 32_768, 65_534, 65_535])
def test_the_table_of_reflectances_is_right_for_every_value(reflectance_max: int) -> None:
    table = reflectance_table(reflectance_max)
    assert (table.shape, table.dtype, table.flags.writeable) == ((65_536,), np.dtype(np.uint8), False)
    # In whole numbers, apart from the very halves, where float64 may come out on either side.
    doubled = np.minimum(np.arange(65_536, dtype=np.int64), reflectance_max) * 510
    nearest = (doubled + reflectance_max) // (2 * reflectance_max)
    halves = (doubled + reflectance_max) % (2 * reflectance_max) == 0
    np.testing.assert_array_equal(table[~halves], nearest[~halves])
    assert (np.abs(table[halves] - nearest[halves]) <= 1).all()


def chunks_of(png: bytes) -> dict[bytes, bytes]:
    chunks, at = dict[bytes, bytes](), 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert int.from_bytes(png[at + 8 + size : at + 12 + size]) == zlib.crc32(kind + body)
        chunks[kind] = chunks.get(kind, b"") + body
        at += 12 + size
    return chunks


def test_pngs_are_plain(patches: list[tuple[U16, U16]]) -> None:
    bands, codes = patches[0]
    rendering = Rendering(mask_classes="clc")
    image, mask = render_image(list(bands), rendering), render_mask(codes, rendering, MAP)
    for png, depth, colour in ((image[0], 8, 2), (mask[0], 16, 0)):
        chunks = chunks_of(png)
        assert chunks.keys() == {b"IHDR", b"IDAT", b"IEND"}  # no date, no software
        assert chunks[b"IHDR"] == (120).to_bytes(4) * 2 + bytes([depth, colour, 0, 0, 0])


CODES = [entry.value for entry in CLC]


def by_table(codes: U16, form: MaskForm) -> npt.NDArray[Any]:
    """Each pixel looked up by itself."""
    tables: dict[str, dict[int, int]] = {
        "clc": {code: code for code in CODES},
        "clc_l3": {code: i for i, code in enumerate(CODES, start=1)},
        "clc_l1": {code: int(str(code)[0]) for code in CODES} | {999: 6},
        "ben19": dict.fromkeys(CODES, 255)
        | {code: i for i, (_, of_class) in enumerate(BEN19) for code in of_class},
    }
    values = [tables[form][code] for code in codes.ravel().tolist()]
    return np.array(values, np.uint16 if form == "clc" else np.uint8).reshape(codes.shape)


def assert_mask(mask: tuple[bytes, dict[int, int]], expected: npt.NDArray[Any]) -> None:
    png, found = mask
    pixels = read(png)
    assert (pixels.shape, pixels.dtype) == ((1, *expected.shape), expected.dtype)
    np.testing.assert_array_equal(pixels[0], expected)
    occurring, counts = np.unique(expected, return_counts=True)
    assert list(found.items()) == list(zip(occurring.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("form", MASK_FORMS)
def test_maps_become_masks_by_the_tables(patches: list[tuple[U16, U16]], form: MaskForm) -> None:
    all_codes = np.resize(np.array(CODES, np.uint16), (120, 120))
    for codes in [all_codes, *(codes for _, codes in patches)]:
        assert_mask(render_mask(codes, Rendering(mask_classes=form), MAP), by_table(codes, form))


def test_masks_have_8_bits_by_default_as_readers_misread_16() -> None:
    codes = np.resize(np.array(CODES, np.uint16), (120, 120))
    png, found = render_mask(codes, Rendering(), MAP)
    as_grey = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert set(np.unique(as_grey).tolist()) == set(found) == {*range(19), 255}


@pytest.mark.parametrize("form", MASK_FORMS)
@pytest.mark.parametrize(
    "unknown", [[0], [1], [45], [110], [113], [255], [524], [777], [998], [1000], [65_535], [*range(9)]]
)
def test_unknown_codes_are_refused_and_at_most_five_named(unknown: list[int], form: MaskForm) -> None:
    codes = np.full((120, 120), 312, np.uint16)
    codes[119, -len(unknown) :] = unknown
    message = re.escape(f"reference_map: {unknown[:5]} are not codes of CLC 2018 (or 999)")
    with pytest.raises(PatchError, match=f"^{message}$"):
        render_mask(codes, Rendering(mask_classes=form), MAP)
