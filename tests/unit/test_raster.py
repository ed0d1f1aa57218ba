"""GeoTIFFs in any layout, compared with what rasterio reads."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rasterio import Affine

from bigearthnet.errors import PatchError
from bigearthnet.names import MAP, parse_patch
from bigearthnet.sample.archives import sample_patches
from bigearthnet.tile import raster
from bigearthnet.tile.raster import Georeference, decode, georeference
from tests.support import archives
from tests.support.rasters import (
    FREE,
    PATCH,
    WHOLE,
    assert_as_rasterio,
    assert_same,
    geotiff,
    pixels_of,
    with_tag,
)
from tests.support.sample import patch_files

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of ours

REAL = Path(__file__).parents[2].parent / "shared" / "data"
REAL_FILES = sorted(REAL.glob("*/*/*/*_B0[2348].tif")) + sorted(REAL.glob("*/*/*/*_reference_map.tif"))


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
