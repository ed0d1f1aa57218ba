import io
import random
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from bigearthnet.errors import PatchError
from bigearthnet.names import BANDS, MAP, Patch, parse_patch
from bigearthnet.sample.archives import patch_files, sample_patches
from bigearthnet.tile.raster import Georeference, decode, georeference

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of ours

REAL = Path(__file__).parents[2].parent / "shared" / "data"
REAL_FILES = sorted(REAL.glob("*/*/*/*_B0[2348].tif")) + sorted(REAL.glob("*/*/*/*_reference_map.tif"))
needs_real = pytest.mark.skipif(not REAL_FILES, reason="files of the published dataset are not at hand")

PATCH = parse_patch("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57")
NORTH_UP = Affine(10, 0, 300_000, 0, -10, 5_400_000)


def pixels_of(shape: tuple[int, ...] = (120, 120), kind: str = "uint16") -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, 65_536, shape).astype(kind)


def tiff(
    bands: npt.NDArray[Any], crs: str | None = "EPSG:32633", transform: Affine = NORTH_UP, **options: Any
) -> bytes:
    """A GeoTIFF with these options of GDAL."""
    stack = bands if bands.ndim == 3 else bands[None]
    count, height, width = stack.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=width,
            height=height,
            count=count,
            dtype=stack.dtype,
            crs=crs,
            transform=transform,
            **options,
        ) as file:
            file.write(stack)
        return bytes(memory.getbuffer())


def by_rasterio(data: bytes) -> npt.NDArray[Any]:
    with rasterio.open(io.BytesIO(data)) as file:
        found: npt.NDArray[Any] = file.read(1)
        return found


def assert_same(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    assert (found.shape, found.dtype) == ((120, 120), np.dtype(np.uint16))
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def drawn() -> dict[Patch, dict[str, bytes]]:
    return {patch: patch_files(patch, 0) for patch in sample_patches(6, 2, 0)}


def test_the_sample_is_read_as_rasterio_reads_it(drawn: dict[Patch, dict[str, bytes]]) -> None:
    for files in drawn.values():
        for layer in ("B02", "B03", "B04", "B08", MAP):
            assert_same(decode(files[layer], layer), by_rasterio(files[layer]))


@needs_real
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.stem[-30:])
def test_the_real_files_are_read_as_rasterio_reads_them(path: Path) -> None:
    assert_same(decode(path.read_bytes(), path.stem), by_rasterio(path.read_bytes()))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"blockysize": 120},
    {"blockysize": 1},
    {"tiled": True, "blockxsize": 64, "blockysize": 64},
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
    {"crs": None},
]


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())) or "as published"
)
def test_any_other_form_is_read_as_rasterio_reads_it(options: dict[str, Any]) -> None:
    pixels = pixels_of() >> (16 - options.get("nbits", 16))
    data = tiff(pixels, **options)
    assert_same(decode(data, "B04"), pixels)
    np.testing.assert_array_equal(by_rasterio(data), pixels)


def tags(data: bytes) -> dict[int, int]:
    """Where each tag of a little-endian TIFF stands."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    return {struct.unpack_from("<H", data, start + 2 + 12 * i)[0]: start + 2 + 12 * i for i in range(count)}


def with_tag(data: bytes, tag: int, value: int, *, instead_of: int | None = None) -> bytes:
    """The TIFF with another value of a tag, or with that tag in the place of another."""
    changed = bytearray(data)
    struct.pack_into(
        "<HHII", changed, tags(data)[instead_of or tag], tag, 4 if value > 65_535 else 3, 1, value
    )
    return bytes(changed)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_never_turned(orientation: int) -> None:
    pixels = pixels_of()
    # PlanarConfiguration has its default, so that its place is free.
    data = with_tag(tiff(pixels), 274, orientation, instead_of=284)
    assert_same(decode(data, "B04"), pixels)


def test_bits_in_reverse_are_read_as_rasterio_reads_them() -> None:
    data = with_tag(tiff(pixels_of()), 266, 2, instead_of=284)
    assert_same(decode(data, "B04"), by_rasterio(data))


def test_samples_of_no_stated_type_are_read_as_rasterio_reads_them() -> None:
    data = with_tag(tiff(pixels_of()), 339, 4)
    assert_same(decode(data, "B04"), by_rasterio(data))


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (pixels_of((60, 60)), "1 of 60 × 60, uint16"),
        (pixels_of((20, 20)), "1 of 20 × 20, uint16"),
        (pixels_of((119, 120)), "1 of 119 × 120, uint16"),
        (pixels_of((120, 121)), "1 of 120 × 121, uint16"),
        (pixels_of((240, 60)), "1 of 240 × 60, uint16"),
        (pixels_of(kind="float32"), "1 of 120 × 120, float32"),
        (pixels_of(kind="float64"), "1 of 120 × 120, float64"),
        (pixels_of(kind="int16"), "1 of 120 × 120, int16"),
        (pixels_of(kind="uint8"), "1 of 120 × 120, uint8"),
        (pixels_of(kind="uint32"), "1 of 120 × 120, uint32"),
        (pixels_of(kind="complex64"), "1 of 120 × 120, complex64"),
        (pixels_of((2, 120, 120)), "2 of 120 × 120, uint16"),
        (pixels_of((3, 120, 120)), "3 of 120 × 120, uint16"),
        (pixels_of((4, 120, 120)), "4 of 120 × 120, uint16"),
    ],
    ids=lambda value: value.replace(" ", "") if isinstance(value, str) else "",
)
@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_another_shape_or_type_is_refused(pixels: npt.NDArray[Any], found: str, interleave: str) -> None:
    with pytest.raises(PatchError, match=f"^B04: expected 1 band of 120 × 120, uint16, found {found}$"):
        decode(tiff(pixels, interleave=interleave), "B04")


def png() -> bytes:
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(driver="PNG", width=120, height=120, count=1, dtype="uint16") as file:
            file.write(pixels_of()[None])
        return bytes(memory.getbuffer())


WHOLE = tiff(pixels_of())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"I",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        bytes(29_196),
        random.Random(0).randbytes(29_196),
        b"II*\0" + random.Random(0).randbytes(29_196),
        png(),
        WHOLE[:100],
        WHOLE[:400],
        WHOLE[:20_000],
        WHOLE[:-1],
        tiff(pixels_of(), compress="deflate")[:-1],
        with_tag(WHOLE, 256, 0),
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_what_is_no_whole_tiff_is_refused(data: bytes) -> None:
    with pytest.raises(
        PatchError, match=rf"^B04: expected a GeoTIFF, found {len(data):,} bytes that are none$"
    ):
        decode(data, "B04")


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", bytes(29_196), png(), WHOLE[:100]], ids=lambda data: str(len(data))
)
def test_what_is_no_tiff_lies_nowhere(data: bytes) -> None:
    with pytest.raises(
        PatchError, match=rf"^{PATCH.patch_id}: expected a GeoTIFF, found {len(data):,} other bytes$"
    ):
        georeference(data, PATCH)


@pytest.mark.parametrize("tag", [256, 257])
@pytest.mark.parametrize("side", [121, 30_000, (1 << 20) + 1, (1 << 31) - 1])
def test_an_absurd_size_is_refused_without_room_for_it(tag: int, side: int) -> None:
    with pytest.raises(PatchError, match=r"^B04: expected 1 band of 120 × 120, uint16, found 1 of "):
        decode(with_tag(WHOLE, tag, side), "B04")


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 419), st.integers(0, 255)), min_size=1, max_size=3), st.booleans())
def test_a_damaged_header_is_a_reason_and_no_crash(changes: list[tuple[int, int]], compressed: bool) -> None:
    data = bytearray(tiff(pixels_of(), **({"compress": "deflate"} if compressed else {})))
    for at, value in changes:
        data[at] = value
    for read in (lambda: decode(bytes(data), "B04"), lambda: georeference(bytes(data), PATCH)):
        try:
            read()
        except PatchError as error:
            assert "expected " in str(error)  # noqa: PT017 - a change need not do harm


# Where a tile lies.


def test_one_patch_of_a_tile_locates_all_of_them(drawn: dict[Patch, dict[str, bytes]]) -> None:
    by_tile: dict[str, set[Georeference]] = {}
    for patch, files in drawn.items():
        by_tile.setdefault(patch.tile, set()).add(georeference(files["B04"], patch))
    assert [len(found) for found in by_tile.values()] == [1, 1]
    for patch, files in drawn.items():
        (located,) = by_tile[patch.tile]
        with rasterio.open(io.BytesIO(files["B02"])) as file:
            assert located.bounds(patch) == tuple(file.bounds)
            assert located.epsg == file.crs.to_epsg()


@needs_real
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.stem[-30:])
def test_the_real_files_lie_where_rasterio_finds_them(path: Path) -> None:
    patch = parse_patch(path.parent.name)
    located = georeference(path.read_bytes(), patch)
    with rasterio.open(path) as file:
        assert located.bounds(patch) == tuple(file.bounds)
        assert located.epsg == file.crs.to_epsg()
        # By the formula of the dataset: upper-left corner at (x0 + 1200 column, y0 - 1200 row).
        assert located.x == file.transform.c - 1200 * patch.column
        assert located.y == file.transform.f + 1200 * patch.row


def test_neighbours_touch() -> None:
    located = Georeference(32633, 300_000, 5_400_000)
    assert located.bounds(Patch("t", 0, 0)) == (300_000, 5_398_800, 301_200, 5_400_000)
    assert located.bounds(Patch("t", 2, 1)) == (302_400, 5_397_600, 303_600, 5_398_800)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"crs": None}, r"found None and \(10\.0, 0\.0, 300000\.0"),
        ({"crs": "+proj=laea +lat_0=1.5 +lon_0=3"}, r"found None and \(10\.0"),
        ({"transform": Affine(20, 0, 0, 0, -20, 0)}, r"found 32633 and \(20\.0, 0\.0, 0\.0, 0\.0, -20\.0"),
        ({"transform": Affine(10, 0, 0, 0, 10, 0)}, r"found 32633 and \(10\.0, 0\.0, 0\.0, 0\.0, 10\.0"),
        ({"transform": Affine(10, 1, 0, 0, -10, 0)}, r"found 32633 and \(10\.0, 1\.0"),
        ({"transform": Affine.identity(), "crs": None}, "found None and"),
    ],
)
def test_a_file_that_says_not_where_it_lies_is_refused(options: dict[str, Any], found: str) -> None:
    message = f"^{PATCH.patch_id}: expected an EPSG code and pixels of 10 m, north up, {found}"
    with pytest.raises(PatchError, match=message):
        georeference(tiff(pixels_of(), **options), PATCH)


def test_bands_of_other_resolutions_do_not_locate(drawn: dict[Patch, dict[str, bytes]]) -> None:
    patch, files = next(iter(drawn.items()))
    assert files.keys() == {*BANDS, MAP}
    with pytest.raises(PatchError, match=r"expected .* pixels of 10 m, .* found \d+ and \(60\.0"):
        georeference(files["B01"], patch)


def test_reading_says_nothing(
    capfd: pytest.CaptureFixture[str], drawn: dict[Patch, dict[str, bytes]]
) -> None:
    for files in drawn.values():
        decode(files["B04"], "B04")
        decode(files[MAP], MAP)
    assert capfd.readouterr() == ("", "")
