import io
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine

from bigearthnet.errors import PatchError
from bigearthnet.names import MAP, Patch, parse_patch
from bigearthnet.sample.archives import sample_patches
from bigearthnet.tile import raster
from bigearthnet.tile.raster import Georeference, decode, georeference
from tests.support import archives
from tests.support.rasters import geotiff
from tests.support.sample import patch_files

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of ours

REAL = Path(__file__).parents[2].parent / "shared" / "data"
REAL_FILES = sorted(REAL.glob("*/*/*/*_B0[2348].tif")) + sorted(REAL.glob("*/*/*/*_reference_map.tif"))
PATCH = parse_patch("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57")


def pixels_of(shape: tuple[int, ...] = (120, 120), kind: str = "uint16") -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, 65_536, shape).astype(kind)


def assert_same(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    assert (found.shape, found.dtype) == ((120, 120), np.dtype(np.uint16))
    np.testing.assert_array_equal(found, expected)


def assert_as_rasterio(data: bytes, patch: Patch) -> None:
    """Pixels and place are those that rasterio finds."""
    assert_same(decode(data, "B04"), archives.pixels(data)[0])
    located = georeference(data, patch)
    with rasterio.open(io.BytesIO(data)) as file:
        assert located.bounds(patch) == tuple(file.bounds)
        assert located.epsg == file.crs.to_epsg()


@pytest.fixture
def no_other_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files must be in the published form: nothing else is read."""
    monkeypatch.setattr(raster, "_decode_any", None)


@pytest.mark.usefixtures("no_other_form")
def test_the_sample_is_read_as_by_rasterio() -> None:
    places: dict[str, set[Georeference]] = {}
    for patch in sample_patches([2, 4]):
        files = patch_files(patch)
        for layer in ("B02", "B03", "B04", "B08", MAP):
            assert_as_rasterio(files[layer], patch)
            places.setdefault(patch.tile, set()).add(georeference(files[layer], patch))
    assert [len(found) for found in places.values()] == [1, 1]  # one patch of a tile locates all


@pytest.mark.usefixtures("no_other_form")
@pytest.mark.skipif(not REAL_FILES, reason="files of the published dataset are not at hand")
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.stem[-30:])
def test_real_files_are_read_as_by_rasterio(path: Path) -> None:
    assert_as_rasterio(path.read_bytes(), parse_patch(path.parent.name))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"blockysize": 120},
    {"blockysize": 1},
    {"tiled": True, "blockxsize": 64, "blockysize": 64},
    {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "compress": "deflate"},
    {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "lzw"},
    {"endianness": "big"},
    {"endianness": "big", "compress": "deflate", "predictor": 2},
    {"bigtiff": "yes"},
    {"bigtiff": "yes", "endianness": "big"},
    {"compress": "lzw"},
    {"compress": "lzw", "predictor": 2},
    {"compress": "deflate"},
    {"compress": "deflate", "predictor": 2},
    {"compress": "packbits"},
    {"compress": "zstd"},
    {"compress": "lzma"},
    {"compress": "lerc"},
    {"photometric": "miniswhite"},
    {"nbits": 10},
    {"nbits": 12},
    {"nbits": 14},
    {"crs": "EPSG:3035"},
    {"transform": Affine(10, 0, 300_000.5, 0, -10, 5_400_000.25)},
]


@pytest.mark.parametrize("point", [False, True], ids=["areas", "points"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())))
def test_any_layout_is_read_as_by_rasterio(options: dict[str, Any], point: bool) -> None:
    pixels = pixels_of() >> (16 - options.get("nbits", 16))
    data = geotiff(pixels, **options, points=point)
    assert_same(decode(data, "B04"), pixels)
    assert_as_rasterio(data, PATCH)


def entries(data: bytes) -> dict[int, int]:
    """Position of each tag of a little-endian TIFF."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    return {struct.unpack_from("<H", data, at)[0]: at for at in range(start + 2, start + 2 + 12 * count, 12)}


def with_tag(data: bytes, tag: int, value: int, *, instead_of: int | None = None) -> bytes:
    """The TIFF with another value of a tag, or with that tag in the place of another."""
    changed = bytearray(data)
    at = entries(data)[instead_of or tag]
    struct.pack_into("<HHII", changed, at, tag, 4 if value > 65_535 else 3, 1, value)
    return bytes(changed)


WHOLE = geotiff(pixels_of())
FREE = 284  # PlanarConfiguration has its default, so that its place can be taken


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        *((274, orientation) for orientation in range(1, 9)),
        (266, 2),  # bits in reverse
        (339, 4),  # samples of no stated type
        (256, 120),  # a tag that occurs twice
        (258, 16),
        (278, 0xFFFFFFFF),  # all rows in one strip
    ],
)
def test_odd_tags_are_read_as_by_rasterio(tag: int, value: int) -> None:
    data = with_tag(
        geotiff(pixels_of(), blockysize=120), tag, value, instead_of=None if tag in {278, 339} else FREE
    )
    assert_same(decode(data, "B04"), archives.pixels(data)[0])


SHAPES = [(60, 60), (119, 120), (120, 121), (240, 60), (2, 120, 120), (3, 120, 120)]
OTHER_TYPES = ["float32", "int16", "uint8", "complex64"]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [*((shape, "uint16") for shape in SHAPES), *(((120, 120), kind) for kind in OTHER_TYPES)],
    ids=str,
)
@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_another_shape_or_type_is_refused(shape: tuple[int, ...], kind: str, interleave: str) -> None:
    found = f"{shape[0] if len(shape) == 3 else 1} of {shape[-2]} × {shape[-1]}, {kind}"
    with pytest.raises(PatchError, match=f"^B04: .* not 1 band of 120 × 120 pixels, uint16, but {found}$"):
        decode(geotiff(pixels_of(shape, kind), interleave=interleave), "B04")


PNG = cv2.imencode(".png", pixels_of())[1].tobytes()
NO_TIFFS = [b"I", b"II*\0", bytes(29_196), PNG, WHOLE[:100]]


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


@pytest.mark.parametrize(
    "data", [b"", b"II+\0" + b"\xff" * 12, *NO_TIFFS], ids=lambda data: f"{len(data)} bytes"
)
def test_what_is_not_a_tiff_has_no_place(data: bytes) -> None:
    message = rf"^{PATCH.patch_id}: {len(data):,} bytes that are not a TIFF, or damaged$"
    with pytest.raises(PatchError, match=message):
        georeference(data, PATCH)


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


def test_tie_points_and_matrices_locate_too() -> None:
    data = bytearray(WHOLE)
    at = struct.unpack_from("<I", data, entries(WHOLE)[33922] + 8)[0]
    struct.pack_into("<6d", data, at, 30, 20, 0, 300_300, 5_399_800, 0)  # another pixel, the same place
    assert georeference(bytes(data), PATCH) == georeference(WHOLE, PATCH)
    assert_as_rasterio(bytes(data), PATCH)
    matrix = struct.pack("<16d", 10, 0, 0, 300_000, 0, -10, 0, 5_400_000, *[0] * 7, 1)
    data = bytearray(with_tag(with_tag(WHOLE, 42, 0, instead_of=33550), 43, 0, instead_of=33922))
    struct.pack_into("<HHII", data, entries(bytes(data))[FREE], 34264, 12, 16, len(data))
    assert georeference(bytes(data) + matrix, PATCH) == georeference(WHOLE, PATCH)


NO_CRS = r"states no EPSG code of a projected CRS \(GeoKey 3072\)$"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"crs": None}, NO_CRS),
        ({"crs": "+proj=laea +lat_0=1.5 +lon_0=3"}, NO_CRS),
        ({"crs": "EPSG:4326"}, NO_CRS),
        ({"transform": Affine(20, 0, 0, 0, -20, 0)}, "20 × 20 m"),
        ({"transform": Affine(10, 0, 0, 0, -20, 0)}, "10 × 20 m"),
        ({"transform": Affine(10, 0, 0, 0, 10, 0)}, "10 × -10 m"),
        ({"transform": Affine(10, 1, 0, 0, -10, 0)}, "0 × 0 m"),
        ({"transform": Affine(10, 0, 0, 1, -10, 0)}, "0 × 0 m"),
        ({"transform": Affine(10, 0, float("nan"), 0, -10, 0)}, "10 × 10 m at nan, 0$"),
        ({"transform": Affine.identity()}, "1 × -1 m|0 × 0 m"),
    ],
)
def test_a_file_without_its_place_is_refused(options: dict[str, Any], found: str) -> None:
    with pytest.raises(PatchError, match=rf"^{PATCH.patch_id}: the GeoTIFF .*({found})"):
        georeference(geotiff(pixels_of(), **options), PATCH)


def test_a_damaged_file_is_refused_whatever_is_set_for_gdal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTIFF_IGNORE_READ_ERRORS", "YES")
    with pytest.raises(PatchError, match="or damaged"):
        decode(WHOLE[:-3000], "B04")


def test_another_installations_proj_does_not_matter_and_nothing_is_printed(tmp_path: Path) -> None:
    (tmp_path / "proj.db").write_bytes(b"of another version")
    maps = geotiff(pixels_of(), compress="deflate", predictor=2)
    files = {"band": WHOLE, "map": maps, "other": geotiff(pixels_of(), endianness="big")}
    for name, data in files.items():
        (tmp_path / f"{name}.tif").write_bytes(data)
    program = """
import pathlib, sys
from bigearthnet.names import Patch
from bigearthnet.tile.raster import decode, georeference
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.tif")):
    located = georeference(path.read_bytes(), Patch("t", 0, 0))
    print(decode(path.read_bytes(), "B04").sum(), located.epsg, located.x, "rasterio" in sys.modules)
"""
    made = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=os.environ | {"PROJ_DATA": str(tmp_path), "PROJ_LIB": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = f"{pixels_of().sum()} 32633 300000.0"
    # Files in the published form do without rasterio, which takes time and memory.
    assert made.stdout.splitlines() == [f"{found} False", f"{found} False", f"{found} True"]
    assert made.stderr == ""
