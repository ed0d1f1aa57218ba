"""Archives of a record, read and changed by tarfile, zstandard and rasterio."""

import io
import os
import subprocess
import tarfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from bigearthnet.sample.archives import write_archive

needs_gnu_tar = pytest.mark.skipif(
    b"GNU tar" not in subprocess.run(["tar", "--version"], capture_output=True, check=False).stdout,
    reason="tar is not GNU tar",
)
IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"


def linked(source: Path, folder: Path) -> Path:
    """The record in another folder, as hard links: replace its files, do not write into them."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        os.link(path, folder / path.name)
    return folder


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of each member."""
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as tar,
        tarfile.open(fileobj=tar, mode="r|") as entries,
    ):
        for entry in entries:
            content = entries.extractfile(entry)
            assert content is not None
            yield entry.name, content.read()


def rewrite(archive: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Put a changed archive in the place of this one: `change` gives new content, or none to leave out."""
    changed = [(name, new) for name, old in list(members(archive)) if (new := change(name, old)) is not None]
    archive.unlink()  # other tests link to it
    write_archive(archive, changed)


def replace(path: Path, content: bytes) -> None:
    """A file in the place of this one, whatever else links to it."""
    path.unlink()
    path.write_bytes(content)


def tar(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A GNU tar of anything, in a zstd frame."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as file:
        for info, content in entries:
            file.addfile(info, io.BytesIO(content))
    return zstandard.ZstdCompressor().compress(raw.getvalue())


def pixels(raster: bytes) -> npt.NDArray[Any]:
    """All bands of a GeoTIFF or PNG, as (band, row, column), read by GDAL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a PNG is not
        with MemoryFile(raster) as memory, memory.open() as dataset:
            found: npt.NDArray[Any] = dataset.read()
            return found


def rgb_reflectances(files: dict[str, bytes], patch_id: str) -> npt.NDArray[np.float64]:
    """Red, green and blue of a patch, (3, 120, 120), from the members of an images' archive."""
    start = f"BigEarthNet-S2/{patch_id[:-6]}/{patch_id}/{patch_id}"
    bands = [pixels(files[f"{start}_{band}.tif"]) for band in ("B04", "B03", "B02")]
    return np.concatenate(bands).astype(np.float64)


def codes(files: dict[str, bytes], patch_id: str) -> npt.NDArray[Any]:
    """CLC codes of a patch, (1, 120, 120), from the members of a maps' archive."""
    return pixels(files[f"Reference_Maps/{patch_id[:-6]}/{patch_id}/{patch_id}_reference_map.tif"])
