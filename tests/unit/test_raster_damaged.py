"""Damaged GeoTIFFs: refused with a reason, or read as rasterio reads them."""

import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.errors import PatchError
from bigearthnet.tile.raster import decode, georeference
from tests.support import archives
from tests.support.rasters import NO_TIFFS, PATCH, WHOLE, assert_same, entries, geotiff, pixels_of, with_tag

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of ours


@pytest.mark.parametrize(
    "data",
    [
        *NO_TIFFS,
        b"II*\0\xff\xff\xff\xff",
        random.Random(0).randbytes(29_196),
        b"II*\0" + random.Random(0).randbytes(29_196),
        WHOLE[:400],
        WHOLE[:-1],
        geotiff(pixels_of(), compress="deflate")[:-1],
        with_tag(WHOLE, 256, 0),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_damaged_files_are_refused(data: bytes) -> None:
    with pytest.raises(PatchError, match=rf"^B04: {len(data):,} bytes that are not a GeoTIFF, or damaged$"):
        decode(data, "B04")


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(PatchError, match=r"^B04: the file is empty$"):
        decode(b"", "B04")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        *((with_tag(WHOLE, 256, side), f"120 × {side}") for side in (121, 30_000, (1 << 31) - 1)),
        *((with_tag(WHOLE, 257, side), f"{side} × 120") for side in (121, (1 << 20) + 1, (1 << 31) - 1)),
        # A tag that occurs twice was an error of OpenCV.
        (with_tag(with_tag(WHOLE, 256, 1 << 24), 256, 120, instead_of=259), "120 × 16777216"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_absurd_sizes_are_refused(data: bytes, found: str) -> None:
    with pytest.raises(PatchError, match=rf"^B04: the GeoTIFF has not 1 band .* but 1 of {found}, uint16$"):
        decode(data, "B04")


def test_a_file_of_the_largest_size_takes_little_memory(tmp_path: Path) -> None:
    black, blocks = np.zeros((120, 120), np.uint16), {"tiled": True, "compress": "deflate"}
    bombs = [
        geotiff(black, **blocks, blockxsize=16_384, blockysize=16_384),
        geotiff(black, **blocks, blockxsize=1040, blockysize=1024),
        with_tag(geotiff(pixels_of(), blockysize=120), 278, 2_000_000),
        with_tag(geotiff(pixels_of(), blockysize=120, compress="deflate"), 278, 2_000_000),
    ]
    for n, bomb in enumerate(bombs):
        assert len(bomb) < 1 << 20
        (tmp_path / f"{n}.tif").write_bytes(bomb)
    program = """
import pathlib, resource, sys
from bigearthnet.errors import PatchError
from bigearthnet.tile.raster import decode
def memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
try: decode(b"MM", "warm up")
except PatchError: before = memory()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try: print(decode(path.read_bytes(), "B04").shape, memory() - before < 32)
    except PatchError as error: print(error, memory() - before < 32)
"""
    made = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True
    )
    assert made.stdout.splitlines() == [
        "B04: the GeoTIFF claims blocks of 16,384 × 16,384 pixels True",
        "B04: the GeoTIFF claims blocks of 1,024 × 1,040 pixels True",
        "(120, 120) True",
        "(120, 120) True",
    ]


DEFLATED = geotiff(pixels_of() // 4000, compress="deflate", predictor=2)
FORMS = [WHOLE, DEFLATED]


def assert_no_more_than_by_rasterio(data: bytes) -> None:
    """Damaged: it has the pixels that rasterio finds, or none."""
    try:
        found = decode(data, "B04")
    except PatchError as error:
        assert str(error).startswith("B04: ")  # noqa: PT017 - most changes do no harm
    else:
        assert_same(found, archives.pixels(data)[0])


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(FORMS),
    st.lists(st.tuples(st.integers(0, 419), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_a_damaged_header_is_a_reason_and_neither_a_crash_nor_other_pixels(
    whole: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(whole)
    for at, value in changes:
        data[at] = value
    assert_no_more_than_by_rasterio(bytes(data))
    try:
        georeference(bytes(data), PATCH)
    except PatchError as error:
        assert str(error).startswith(PATCH.patch_id)  # noqa: PT017


def strip_arrays(data: bytes) -> list[tuple[str, int]]:
    """Format and position of the offsets and of the sizes of the strips."""
    found = []
    for tag in (273, 279):
        _, kind, count, where = struct.unpack_from("<HHII", data, entries(data)[tag])
        found.append((f"<{count}{'H' if kind == 3 else 'I'}", where))
    return found


OTHER_STRIPS: dict[str, Callable[[list[int], list[int]], None]] = {
    "overlapping": lambda offsets, _: offsets.__setitem__(2, offsets[1]),
    "moved": lambda offsets, _: offsets.__setitem__(0, offsets[0] + 2),
    "swapped": lambda offsets, _: offsets.reverse(),
    "at the beginning": lambda offsets, _: offsets.__setitem__(slice(None), [0, 8160, 16_320, 24_480]),
    "beyond the end": lambda offsets, _: offsets.__setitem__(3, 1 << 31),
    "of another size": lambda _, sizes: sizes.__setitem__(0, sizes[0] - 2),
    "of sizes that add up": lambda offsets, sizes: (
        offsets.__setitem__(1, offsets[1] + 2),
        sizes.__setitem__(slice(2), [sizes[0] + 2, sizes[1] - 2]),
    )[0],
    "of no size": lambda _, sizes: sizes.__setitem__(3, 0),
    "longer than the file": lambda _, sizes: sizes.__setitem__(3, 60_000),
}


@pytest.mark.parametrize("whole", FORMS, ids=["stored", "deflated"])
@pytest.mark.parametrize("change", OTHER_STRIPS.values(), ids=[*OTHER_STRIPS])
def test_strips_elsewhere_are_read_as_by_rasterio(
    whole: bytes, change: Callable[[list[int], list[int]], None]
) -> None:
    arrays = strip_arrays(whole)
    offsets, sizes = ([*struct.unpack_from(form, whole, where)] for form, where in arrays)
    change(offsets, sizes)
    data = bytearray(whole)
    for (form, where), values in zip(arrays, (offsets, sizes), strict=True):
        struct.pack_into(form, data, where, *values)
    assert_no_more_than_by_rasterio(bytes(data))


@pytest.mark.parametrize("whole", FORMS, ids=["stored", "deflated"])
def test_cut_off_anywhere_it_has_the_pixels_of_rasterio_or_none(whole: bytes) -> None:
    for size in {*range(0, len(whole), len(whole) // 40), len(whole) - 1}:
        assert_no_more_than_by_rasterio(whole[:size])


def test_a_last_strip_that_is_filled_up_is_read_whole() -> None:
    (_, offsets), (form, where) = strip_arrays(DEFLATED)
    data, sizes = bytearray(DEFLATED), [*struct.unpack_from(form, DEFLATED, where)]
    last = struct.unpack_from("<4I", DEFLATED, offsets)[3]
    filled = zlib.compress(zlib.decompress(DEFLATED[last:]).ljust(34 * 240, b"\7"))
    struct.pack_into(form, data, where, *sizes[:3], len(filled))
    assert_same(decode(bytes(data[:last]) + filled, "B04"), pixels_of() // 4000)


def test_damaged_maps_are_refused_where_rasterio_makes_up_pixels() -> None:
    _, (form, where) = strip_arrays(DEFLATED)
    start = len(DEFLATED) - sum(struct.unpack_from(form, DEFLATED, where))
    for at in range(start, len(DEFLATED), 97):
        damaged = DEFLATED[:at] + bytes([DEFLATED[at] ^ 0x55]) + DEFLATED[at + 1 :]
        with pytest.raises(PatchError, match=r"^B04: .* bytes that are not a GeoTIFF, or damaged$"):
            decode(damaged, "B04")


def test_a_damaged_file_is_refused_whatever_is_set_for_gdal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTIFF_IGNORE_READ_ERRORS", "YES")
    with pytest.raises(PatchError, match="or damaged"):
        decode(WHOLE[:-3000], "B04")
