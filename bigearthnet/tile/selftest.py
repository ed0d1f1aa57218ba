"""Reads and renders a known GeoTIFF, so that a damaged installation is found before any work."""

import hashlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from bigearthnet.errors import InstallationError, PatchError
from bigearthnet.names import MAP, parse_patch
from bigearthnet.options import Rendering
from bigearthnet.tile.raster import Georeference, decode, georeference
from bigearthnet.tile.render import render_image, render_mask

KNOWN: Final = Path(__file__).with_name("known.tif")
"""A reference map with all codes in turn, written by `bigearthnet.sample`."""
_PATCH: Final = parse_patch("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_01_02")
_PLACE: Final = Georeference(32633, 298_800, 5_402_400)
DIGESTS: Final = {
    "a GeoTIFF": "6d1465897001f661306841142b1bafb7e77c794da43e423faa626e5a4dfc0831",
    "an RGB PNG": "7248584f9a18b75ce0f7745f7a088119bb2dd3b75cc83d119fe6e9c92523c3c5",
    "a mask PNG": "f74a71c8e3f2e4890525461f74ad2b8c802f9d469c02570274df50e19dce7df7",
}
"""SHA-256 of the pixels; of the PNGs as OpenCV reads them, blue first."""


def check_installation() -> None:
    """Read a known GeoTIFF, render it with the default options, and compare all pixels.

    Raises:
        InstallationError: they differ, or its place on the earth does.
    """
    tiff = KNOWN.read_bytes()
    try:
        codes, place = decode(tiff, MAP), georeference(tiff, _PATCH)
        image, _ = render_image([codes, 2 * codes, 4 * codes], Rendering())
        mask, _ = render_mask(codes, Rendering(), MAP)
    except PatchError as error:
        raise _damaged(str(error)) from error
    pngs = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) for png in (image, mask)]
    for (what, sha256), pixels in zip(DIGESTS.items(), (codes.astype("<u2"), *pngs), strict=True):
        if pixels is None or hashlib.sha256(pixels.tobytes()).hexdigest() != sha256:
            raise _damaged(f"{what} has wrong pixels")
    if place != _PLACE:
        raise _damaged(f"a known GeoTIFF is placed at {place}")


def _damaged(fault: str) -> InstallationError:
    return InstallationError(
        f"the installation is damaged: {fault}. Remove .venv, then run make setup again."
    )
