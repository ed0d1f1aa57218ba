"""PNGs: what decoders read, and that neither OpenCV nor the machine's zlib has a part in the bytes."""

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from bigearthnet.tile.png import encode_image, encode_mask
from tests.support.archives import pixels as read_by_rasterio

GENERATOR = np.random.default_rng(7)
AREAS = np.ones((10, 10), np.uint8)
IMAGES = {
    "noise": GENERATOR.integers(0, 256, (120, 120, 3), np.uint8),
    "smooth": np.add.outer(np.arange(120), np.arange(120))[..., np.newaxis].repeat(3, 2).astype(np.uint8),
    "constant": np.full((120, 120, 3), 255, np.uint8),
    "one row": GENERATOR.integers(0, 256, (1, 7, 3), np.uint8),
    "one column": GENERATOR.integers(0, 256, (9, 1, 3), np.uint8),
}
MASKS: dict[str, npt.NDArray[Any]] = {
    "areas": np.kron(GENERATOR.integers(0, 19, (12, 12), np.uint8), AREAS),
    "noise": GENERATOR.integers(0, 256, (120, 120), np.uint8),
    "codes": np.kron(GENERATOR.choice(np.array([111, 231, 312, 999], np.uint16), (12, 12)), AREAS),
    "one pixel": np.array([[7]], np.uint8),
}
BROKEN_ZLIB = """
int deflateInit_(void *s, int l, const char *v, int n) { return -2; }
int deflateInit2_(void *s, int l, int m, int w, int y, int t, const char *v, int n) { return -2; }
int deflate(void *s, int f) { return -2; }
"""
DIGESTS = """
import hashlib, numpy
from bigearthnet.tile.png import encode_image, encode_mask
pixels = (numpy.indices((120, 120, 3)).prod(0) % 251).astype(numpy.uint8)
print(hashlib.sha256(encode_image(pixels) + encode_mask(pixels[..., 1])).hexdigest())
"""


@pytest.mark.parametrize("pixels", [*IMAGES.values(), *MASKS.values()], ids=[*IMAGES, *MASKS])
def test_decoders_read_every_pixel(pixels: npt.NDArray[Any]) -> None:
    png = encode_image(pixels) if pixels.ndim == 3 else encode_mask(pixels)
    by_opencv = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert by_opencv is not None
    assert by_opencv.dtype == pixels.dtype
    np.testing.assert_array_equal(by_opencv[..., ::-1] if pixels.ndim == 3 else by_opencv, pixels)
    by_rasterio = read_by_rasterio(png)
    np.testing.assert_array_equal(np.moveaxis(by_rasterio, 0, -1), pixels.reshape(*by_rasterio.shape[1:], -1))


def rows_of(png: bytes, height: int) -> npt.NDArray[np.uint8]:
    """The filtered rows of a PNG with one IDAT: filter type, then residuals."""
    start = png.index(b"IDAT") + 4
    size = int.from_bytes(png[start - 8 : start - 4])
    return np.frombuffer(zlib.decompress(png[start : start + size]), np.uint8).reshape(height, -1)


def test_residuals_are_those_of_the_filters_average_and_up() -> None:
    image, mask = IMAGES["noise"].astype(int), MASKS["noise"].astype(int)
    left, above = np.zeros_like(image), np.zeros_like(image)
    left[:, 1:], above[1:] = image[:, :-1], image[:-1]
    rows = rows_of(encode_image(IMAGES["noise"]), 120)
    np.testing.assert_array_equal(rows[:, 1:], ((image - (left + above) // 2) % 256).reshape(120, 360))
    rows = rows_of(encode_mask(MASKS["noise"]), 120)
    np.testing.assert_array_equal(rows[:, 1:], np.diff(mask, axis=0, prepend=0) % 256)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a compiler for another zlib")
def test_the_bytes_are_the_same_with_another_zlib(tmp_path: Path) -> None:
    (tmp_path / "z.c").write_text(BROKEN_ZLIB)
    library = tmp_path / "libz.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "z.c"], check=True)

    def run(program: str, **environment: str) -> str:
        command = (sys.executable, "-c", program)
        return subprocess.run(
            command, env=os.environ | environment, check=True, capture_output=True, text=True
        ).stdout

    opencv = "import cv2, numpy; print(cv2.imencode('.png', numpy.zeros((9, 9), numpy.uint8))[0])"
    assert run(opencv, LD_PRELOAD=str(library)) != run(opencv), "the other zlib is in use"
    assert run(DIGESTS, LD_PRELOAD=str(library)) == run(DIGESTS) != ""
