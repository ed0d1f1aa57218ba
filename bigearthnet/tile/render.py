"""From reflectances to 8-bit RGB, from CLC codes to masks, and both to PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bigearthnet.classes import CLC, clc_positions, mask_values
from bigearthnet.errors import PatchError
from bigearthnet.options import Rendering
from bigearthnet.tile.raster import Pixels

Bytes2D = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Image:
    """A rendered image: its PNG, and for each channel the sum and the sum of squares of its pixels."""

    png: bytes
    sums: tuple[int, int, int]
    squares: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Mask:
    """A rendered mask: its PNG, and how many pixels have which value (values that occur, ascending)."""

    png: bytes
    pixels: dict[int, int]


def render_image(bands: Sequence[Pixels], rendering: Rendering) -> Image:
    """Render red, green, blue (uint16, 120 × 120 each) to an RGB PNG."""
    planes = stretch(bands, rendering)
    red, green, blue = planes
    png = _encode(cv2.merge((blue, green, red)), image_options(rendering.png_compression))
    sums = [int(cv2.sumElems(plane)[0]) for plane in planes]
    # OpenCV squares a root, which comes out beside the whole number by less than a millionth.
    squares = [round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes]
    return Image(png, (sums[0], sums[1], sums[2]), (squares[0], squares[1], squares[2]))


def stretch(bands: Sequence[Pixels], rendering: Rendering) -> list[Bytes2D]:
    """Map bands (uint16, any equal shape) to 0 to 255, exactly as the project's plan defines it."""
    if rendering.stretch == "minmax":
        return [_between_extremes(band) for band in bands]
    if rendering.stretch == "percentile":
        low, high = np.percentile(np.stack(bands), rendering.percentiles)
        return [_between(band, float(low), float(high)) for band in bands]
    table = reflectance_table(rendering.reflectance_max)
    return [_looked_up(band, table) for band in bands]


@lru_cache(maxsize=4)
def reflectance_table(reflectance_max: int) -> Bytes2D:
    """`rint(clip(dn / reflectance_max, 0, 1) * 255)` in float64 for all 65,536 values of dn."""
    dn = np.arange(65536, dtype=np.float64)
    table: Bytes2D = np.rint(np.clip(dn / reflectance_max, 0, 1) * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def _looked_up(pixels: npt.NDArray[Any], table: npt.NDArray[np.uint8]) -> Bytes2D:
    """Each pixel's entry in a table of as many values as its type has; OpenCV does it in half the time."""
    return cv2.LUT(pixels, table[np.newaxis])  # type: ignore[return-value]  # of the table's type


def _between_extremes(band: Pixels) -> Bytes2D:
    """`rint((dn - min) * 255 / (max - min))`; a constant band gives 0."""
    low, high = int(band.min()), int(band.max())
    if low == high:
        return np.zeros(band.shape, np.uint8)
    stretched: Bytes2D = np.rint((band - np.float64(low)) * 255 / (high - low)).astype(np.uint8)
    return stretched


def _between(band: Pixels, low: float, high: float) -> Bytes2D:
    """`rint(clip((dn - low) / (high - low), 0, 1) * 255)`; low = high gives 0."""
    if low == high:
        return np.zeros(band.shape, np.uint8)
    stretched: Bytes2D = np.rint(np.clip((band - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return stretched


def render_mask(codes: Pixels, rendering: Rendering, what: str) -> Mask:
    """Render a reference map of CLC codes (uint16, 120 × 120) to a mask PNG, 16-bit for `clc`, else 8-bit.

    Raises:
        PatchError: a code is none of the 44 and not 999; the message begins with `what`.
    """
    positions = _looked_up(codes, clc_positions())
    counts = cv2.calcHist([positions], [0], None, [len(CLC) + 1], [0, len(CLC) + 1]).ravel()
    if counts[0]:
        unknown = sorted({int(code) for code in codes[positions == 0]})
        raise PatchError(f"{what}: expected codes of CLC 2018 or 999, found {unknown[:5]}")
    values = mask_values(rendering.mask_classes)
    mask = codes if rendering.mask_classes == "clc" else _looked_up(positions, _bytes_table(values))
    pixels: dict[int, int] = {}
    for position in np.flatnonzero(counts):
        value = int(values[position])
        pixels[value] = pixels.get(value, 0) + int(counts[position])
    return Mask(_encode(mask, mask_options(rendering.png_compression)), dict(sorted(pixels.items())))


def _bytes_table(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """A table for 8-bit pixels that begins with `values`, which are bytes."""
    table = np.zeros(256, np.uint8)
    table[: len(values)] = values
    return table


def image_options(level: int) -> list[int]:
    """OpenCV's options for images at a zlib level.

    Level 1 codes the average-predicted residuals by Huffman alone: on real Sentinel-2 patches that gives
    smaller files than deflate at any level (which finds nothing to repeat in their noise), several times
    as fast. 0 stores; 2 to 9 deflate with the best filter for each row.
    """
    if level == 1:
        return _options(1, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY, cv2.IMWRITE_PNG_FILTER_AVG)
    return _options(level, cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_ALL_FILTERS)


def mask_options(level: int) -> list[int]:
    """OpenCV's options for masks at a zlib level: areas of one value deflate best unfiltered."""
    return _options(level, cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_FILTER_NONE)


def _options(level: int, strategy: int, row_filter: int) -> list[int]:
    # The order matters: OpenCV resets strategy and filter when it meets the level.
    return [
        *(cv2.IMWRITE_PNG_COMPRESSION, level),
        *(cv2.IMWRITE_PNG_STRATEGY, strategy),
        *(cv2.IMWRITE_PNG_FILTER, row_filter),
    ]


def _encode(pixels: npt.NDArray[Any], options: list[int]) -> bytes:
    done, png = cv2.imencode(".png", pixels, options)
    if not done:  # OpenCV says so without a reason; it means no memory
        raise MemoryError(f"no PNG could be made of {pixels.shape} {pixels.dtype}")
    return png.tobytes()
