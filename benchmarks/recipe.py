"""The recipe in use today, step by step: unpack all, a script with rasterio, deflated zips."""

import resource
import subprocess
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from bigearthnet.names import IMAGES_ARCHIVE, IMAGES_ROOT, MAPS_ARCHIVE, MAPS_ROOT, RGB_BANDS

Pixels = npt.NDArray[np.generic]


def recipe_cpu_seconds(sample: Path, folder: Path) -> float:
    """CPU seconds of the recipe for the archives in `sample`, its work done in `folder` (made anew)."""
    began = _cpu_seconds()
    for name in (IMAGES_ARCHIVE, MAPS_ARCHIVE):
        folder.mkdir(exist_ok=True)
        subprocess.run(["tar", "--zstd", "-xf", sample / name, "-C", folder], check=True)
    _to_pngs(folder)
    for kind in ("images", "masks"):
        subprocess.run(["zip", "-q", "-r", f"{kind}.zip", kind], cwd=folder, check=True)
    return _cpu_seconds() - began


def _to_pngs(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for patch in (folder / IMAGES_ROOT).glob("*/*"):
        bands = [_stretched(_read(patch / f"{patch.name}_{band}.tif")) for band in RGB_BANDS["true_colour"]]
        _write(folder / "images" / f"{patch.name}.png", np.stack(bands))
    for patch in (folder / MAPS_ROOT).glob("*/*"):
        codes = _read(patch / f"{patch.name}_reference_map.tif")
        _write(folder / "masks" / f"{patch.name}_mask.png", codes[np.newaxis])


def _read(path: Path) -> Pixels:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def _stretched(band: Pixels) -> Pixels:
    low, high = band.min(), band.max()
    return np.asarray((band - low) / max(high - low, 1) * 255).astype(np.uint8)


def _write(path: Path, pixels: Pixels) -> None:
    count, height, width = pixels.shape
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a PNG is not meant to have one
    with rasterio.open(
        path, "w", driver="PNG", count=count, height=height, width=width, dtype=pixels.dtype
    ) as dataset:
        dataset.write(pixels)


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
