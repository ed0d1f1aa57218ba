import io
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from bigearthnet.classes import CLC, MASK_FORMS, MaskForm, mask_classes
from bigearthnet.dataset.preview import colours, contact_sheet, pick, read_pair

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # PNGs


def png(bands: npt.NDArray[Any]) -> bytes:
    with MemoryFile() as memory:
        count, height, width = bands.shape
        with memory.open(driver="PNG", count=count, height=height, width=width, dtype=bands.dtype) as file:
            file.write(bands)
        return bytes(memory.getbuffer())


def read(data: bytes) -> npt.NDArray[Any]:
    with rasterio.open(io.BytesIO(data)) as file:
        found: npt.NDArray[Any] = file.read()
        return found


@settings(deadline=None)
@given(st.lists(st.integers(0, 9000), max_size=120), st.integers(0, 12))
def test_picked_patches_are_spread_evenly_over_all(counts: list[int], limit: int) -> None:
    picked = pick(counts, limit)
    numbered = [sum(counts[:tile]) + nth for tile, nth in picked]
    assert all(0 <= nth < counts[tile] for tile, nth in picked)
    chosen, total = min(limit, sum(counts)), sum(counts)
    assert len(picked) == chosen
    # Of equal parts of the whole, the middle of each.
    assert numbered == [int((i + 0.5) * total / chosen) for i in range(chosen)]
    assert len(set(numbered)) == chosen


def test_few_patches_are_all_picked() -> None:
    assert pick([2, 0, 1, 3]) == [(0, 0), (0, 1), (2, 0), (3, 0), (3, 1), (3, 2)]
    assert pick([]) == []


@pytest.mark.parametrize("form", MASK_FORMS)
def test_each_value_has_the_colour_of_its_class(form: MaskForm) -> None:
    table = colours(form)
    assert table.shape == (1000, 3)
    assert {i: tuple(rgb) for i, rgb in enumerate(table.tolist()) if any(rgb)} == {
        entry.value: entry.colour for entry in mask_classes(form) if any(entry.colour)
    }


def test_codes_have_the_official_colours() -> None:
    table = colours("clc")
    assert {entry.code: tuple(table[entry.code].tolist()) for entry in CLC} == {c.code: c.colour for c in CLC}
    assert tuple(table[311].tolist()) == (128, 255, 0)  # broad-leaved forest


@pytest.mark.parametrize(("form", "kind", "value"), [("clc", "uint16", 512), ("ben19", "uint8", 17)])
def test_a_pair_is_an_image_and_its_coloured_mask(
    tmp_path: Path, form: MaskForm, kind: str, value: int
) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 3, 120, 120)).astype(np.uint8)
    mask = np.full((1, 120, 120), value, kind)
    mask[0, 0, 0] = 312 if form == "clc" else 9
    with ZipFile(tmp_path / "images.zip", "w") as images, ZipFile(tmp_path / "masks.zip", "w") as masks:
        for i, bands in enumerate(drawn):
            images.writestr(f"{i}.png", png(bands))
            masks.writestr(f"{i}_mask.png", png(mask))
    image, coloured = read_pair(tmp_path / "images.zip", tmp_path / "masks.zip", 1, form)
    np.testing.assert_array_equal(image, drawn[1].transpose(1, 2, 0))
    assert coloured.dtype == np.uint8
    assert coloured[0, 0].tolist() == [0, 166, 0]  # coniferous forest
    water = (128, 242, 230) if form == "clc" else (0, 204, 242)  # of the first code of inland waters
    assert (coloured.reshape(-1, 3)[1:] == water).all()


def test_what_is_no_png_is_told(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a.png", b"garbage")
    with pytest.raises(ValueError, match=r"expected PNGs as member 0 of .*x\.zip and .*x\.zip, found others"):
        read_pair(tmp_path / "x.zip", tmp_path / "x.zip", 0, "clc")


@pytest.mark.parametrize(
    ("pairs", "columns", "rows"), [(0, 1, 1), (1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 3, 2), (6, 3, 2)]
)
def test_a_sheet_shows_every_pair_side_by_side(pairs: int, columns: int, rows: int) -> None:
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 200, (pairs, 2, 120, 120, 3)).astype(np.uint8)
    sheet = read(contact_sheet([(image, mask) for image, mask in pictures])).transpose(1, 2, 0)
    assert sheet.shape == (rows * 248 + 8, columns * 492 + 8, 3)
    left = np.ones(sheet.shape[:2], bool)
    for i, (image, mask) in enumerate(pictures):
        top, at = 8 + i // 3 * 248, 8 + i % 3 * 492
        for picture, x in ((image, at), (mask, at + 244)):
            shown = sheet[top : top + 240, x : x + 240]
            np.testing.assert_array_equal(shown[::2, ::2], picture)
            np.testing.assert_array_equal(shown[1::2, 1::2], picture)
            left[top : top + 240, x : x + 240] = False
    assert (sheet[left] == 255).all()
