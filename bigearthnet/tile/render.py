"""Render reflectance to 8-bit RGB, CLC codes to masks, and both to PNG."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bigearthnet.classes import CLC, MaskForm, clc_positions, mask_values
from bigearthnet.errors import PatchError
from bigearthnet.options import Rendering
from bigearthnet.tile.png import Bytes2D, encode_image, encode_mask
from bigearthnet.tile.raster import Pixels
from bigearthnet.tile.rows import EXTREME_COLUMNS, SQUARE_COLUMNS, SUM_COLUMNS

# Tiles are converted side by side already, and a patch is too small to be shared by threads.
cv2.setNumThreads(1)


def render_image(bands: Sequence[Pixels], rendering: Rendering) -> tuple[bytes, dict[str, float]]:
    """Render the bands of red, green and blue (uint16, 120 × 120 each) to an RGB PNG.

    Returns:
        The PNG; sum, and sum of squares, of the pixels of each channel, and the share of black and of
        saturated pixels, by `SUM_COLUMNS`, `SQUARE_COLUMNS`, `EXTREME_COLUMNS`.
    """
    red, green, blue = planes = stretch(bands, rendering)
    png = encode_image(cv2.merge((red, green, blue)))  # type: ignore[arg-type]
    sums = [int(cv2.sumElems(plane)[0]) for plane in planes]
    # OpenCV squares a root, which differs from the whole number by less than a millionth.
    squares = [round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes]
    names = (*SUM_COLUMNS, *SQUARE_COLUMNS, *EXTREME_COLUMNS)
    return png, dict(zip(names, (*sums, *squares, *_extremes(planes)), strict=True))


def _extremes(planes: Sequence[Bytes2D]) -> tuple[float, float]:
    """Return the share of pixels that are 0 in all planes, and of those that are 255 in one or more."""
    brightest = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    lit = cv2.countNonZero(brightest)
    saturated = cv2.countNonZero(cv2.compare(brightest, 255, cv2.CMP_EQ))  # type: ignore[call-overload]
    return 1 - lit / brightest.size, saturated / brightest.size


def stretch(bands: Sequence[Pixels], rendering: Rendering) -> list[Bytes2D]:
    """Scale bands (uint16, of equal shape) to 0 to 255.

    reflectance: `rint(clip(dn / reflectance_max, 0, 1) * 255)`. minmax, a band at a time:
    `rint((dn - min) * 255 / (max - min))`; a constant band gives 0. percentile, of all bands together:
    `rint(clip((dn - low) / (high - low), 0, 1) * 255)`; low = high gives 0. All in float64; `rint`
    rounds half to even.
    """
    if rendering.stretch == "minmax":
        return [_between_extremes(band) for band in bands]
    if rendering.stretch == "percentile":
        low, high = np.percentile(np.stack(bands), rendering.percentiles)
        return [_between(band, float(low), float(high)) for band in bands]
    table = reflectance_table(rendering.reflectance_max)
    return [_look_up(band, table) for band in bands]


@lru_cache(maxsize=4)
def reflectance_table(reflectance_max: int) -> Bytes2D:
    """Return the stretch reflectance of all 65,536 values of dn, read-only."""
    dn = np.arange(65536, dtype=np.float64)
    table: Bytes2D = np.rint(np.clip(dn / reflectance_max, 0, 1) * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def _look_up(pixels: npt.NDArray[Any], table: npt.NDArray[np.uint8]) -> Bytes2D:
    """Look each pixel up in a table of all values of its type, in half the time of numpy."""
    return cv2.LUT(pixels, table[np.newaxis])  # type: ignore[return-value]  # has the table's type


def _between_extremes(band: Pixels) -> Bytes2D:
    low, high = int(band.min()), int(band.max())
    if low == high:
        return np.zeros(band.shape, np.uint8)
    plane: Bytes2D = np.rint((band - np.float64(low)) * 255 / (high - low)).astype(np.uint8)
    return plane


def _between(band: Pixels, low: float, high: float) -> Bytes2D:
    if low == high:
        return np.zeros(band.shape, np.uint8)
    plane: Bytes2D = np.rint(np.clip((band - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return plane


def render_mask(codes: Pixels, rendering: Rendering, what: str) -> tuple[bytes, dict[int, int]]:
    """Render a reference map of CLC codes (uint16, 120 × 120) to a mask PNG: `clc` has 16 bits, others 8.

    Returns:
        The PNG; the number of pixels of each value that occurs, ascending.

    Raises:
        PatchError: a code is neither one of the 44 nor 999; the message begins with `what`.
    """
    positions = _look_up(codes, clc_positions())
    counts = cv2.calcHist([positions], [0], None, [len(CLC) + 1], [0, len(CLC) + 1]).ravel()
    if counts[0]:
        unknown = sorted({int(code) for code in codes[positions == 0]})
        raise PatchError(f"{what}: {unknown[:5]} are not codes of CLC 2018 (or 999)")
    values = mask_values(rendering.mask_classes)
    mask = codes if rendering.mask_classes == "clc" else _look_up(positions, values.astype(np.uint8))
    pixels: dict[int, int] = {}
    for position in np.flatnonzero(counts):
        value = int(values[position])
        pixels[value] = pixels.get(value, 0) + int(counts[position])
    return encode_mask(mask), dict(sorted(pixels.items()))


def derive_mask(png: bytes, form: MaskForm, rendering: Rendering, what: str) -> tuple[bytes, dict[int, int]]:
    """Render a mask of one of the `DETAILED_FORMS` in another form, as `render_mask` does from its map.

    Raises:
        PatchError: it is no mask of that form.
    """
    mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.dtype != (np.uint16 if form == "clc" else np.uint8):
        raise PatchError(f"{what}: this is no mask of the form {form}")
    codes: Pixels = mask.astype(np.uint16) if form == "clc" else mask_values("clc")[mask]
    return render_mask(codes, rendering, what)
