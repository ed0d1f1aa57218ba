"""A drawn sample of BigEarthNet v2: archives and metadata in the published form.

The land is drawn by `landscape`. Everything else is as published: names, places, GeoTIFFs, GNU tar, one zstd
frame, Parquet columns. The same arguments give the same bytes.
"""

import io
import math
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bigearthnet import names
from bigearthnet.classes import BEN19
from bigearthnet.names import MAP, PATCH_METRES, Patch, Root
from bigearthnet.sample.geotiff import geotiffs
from bigearthnet.sample.landscape import Land, Region, draw

SAMPLE_TITLE: Final = "Drawn sample in the form of BigEarthNet v2"
_TILE_SIDE: Final = 91  # patches along the side of a tile of 109.8 km
ZSTD_LEVEL: Final = 6  # of the published archives
_MTIME: Final = 1704067200  # 2024-01-01 UTC

_ALPINE = Region(45, (211, 211, 231, 242, 321, 243))
_COAST = Region(23, (211, 242, 221, 221, 321, 243), water=523)
_NORTH = Region(19, (211, 211, 231, 242), snow=True)
_GREEN = Region(24, (231, 231, 231, 211))
TILES: Final[dict[str, tuple[str, int, int, Region]]] = {
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP": ("Austria", 300_000, 5_400_000, _ALPINE),
    "S2A_MSIL2A_20170704T112111_N9999_R037_T29SND": ("Portugal", 499_980, 4_400_040, _COAST),
    "S2A_MSIL2A_20180413T095031_N9999_R079_T35VLG": ("Finland", 300_000, 6_700_020, _NORTH),
    "S2B_MSIL2A_20180421T114349_N9999_R123_T29UPU": ("Ireland", 600_000, 5_900_040, _GREEN),
}
"""Tiles of the dataset, sorted: country, x and y of the upper left corner in metres, and what is drawn."""
_SPLITS: Final = ("train", "validation", "train", "test")  # take turns
_SCHEMA: Final = pa.schema(
    [
        ("patch_id", pa.string()),
        ("labels", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("split", "country", "s1_name", "s2v1_name")),
        *((name, pa.bool_()) for name in ("contains_seasonal_snow", "contains_cloud_or_shadow")),
    ]
)


Drawn = tuple[Land, Mapping[str, bytes]]
"""The land of a patch, and its GeoTIFFs by layer (`BANDS` and `MAP`)."""


def make_sample(
    folder: Path,
    sizes: Sequence[int] = (10, 20, 30),
    draw: Callable[[Patch], Drawn] | None = None,
    level: int = ZSTD_LEVEL,
) -> None:
    """Write the four record files into `folder`, in place of those of an earlier sample.

    The files are made in a folder of their own and then moved, metadata last: several processes can make
    the sample at the same time.

    Args:
        folder: made if it does not exist.
        sizes: number of patches in each of the first `TILES`, up to 8,281.
        draw: draws a patch, in place of `draw_patch`.
        level: of zstd; that of the published archives by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maps: list[tuple[str, bytes]] = []
    rows: dict[bool, list[dict[str, Any]]] = {False: [], True: []}

    def images() -> Iterator[tuple[str, bytes]]:
        for patch in sample_patches(sizes):
            land, files = (draw or draw_patch)(patch)
            maps.append((_path(names.MAPS_ROOT, patch, MAP), files[MAP]))
            rows[land.covered].append(_metadata(patch, land))
            for band in names.BANDS:
                yield _path(names.IMAGES_ROOT, patch, band), files[band]

    with TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        made = Path(temporary)
        write_archive(made / names.IMAGES_ARCHIVE, images(), level)
        write_archive(made / names.MAPS_ARCHIVE, maps, level)
        for name, listed in zip(names.METADATA_FILES, rows.values(), strict=True):
            table = pa.Table.from_pylist(listed, _SCHEMA)
            pq.write_table(table, made / name, compression="zstd", store_schema=False)
        for name in (names.IMAGES_ARCHIVE, names.MAPS_ARCHIVE, *names.METADATA_FILES):
            with (made / name).open("rb") as file:
                os.fsync(file.fileno())
            (made / name).replace(folder / name)


def sample_patches(sizes: Sequence[int]) -> list[Patch]:
    """List the patches of a sample, sorted: a square in the middle of each of the first `TILES`."""
    patches = []
    for tile, size in zip(list(TILES)[: len(sizes)], sizes, strict=True):
        side = math.ceil(math.sqrt(size))
        first = (_TILE_SIDE - side) // 2
        patches += [Patch(tile, first + n // side, first + n % side) for n in range(size)]
    return patches


def draw_patch(patch: Patch) -> Drawn:
    """Draw a patch of one of the `TILES`."""
    _, x, y, region = TILES[patch.tile]
    land = draw(region, patch.column, patch.row)
    corner = x + patch.column * PATCH_METRES, y - patch.row * PATCH_METRES
    return land, geotiffs(land.bands | {MAP: land.codes}, int(patch.tile[-5:-3]), corner)


def write_archive(path: Path, members: Iterable[tuple[str, bytes]], level: int = ZSTD_LEVEL) -> None:
    """Write members (path and content), in the order given, as published: GNU tar in one zstd frame."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    with (
        path.open("wb") as file,
        compressor.stream_writer(file, closefd=False) as frame,
        tarfile.open(fileobj=frame, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname, info.gname = len(content), _MTIME, "root", "root"
            tar.addfile(info, io.BytesIO(content))


def _path(root: Root, patch: Patch, layer: str) -> str:
    return f"{root}/{patch.tile}/{patch.patch_id}/{patch.patch_id}_{layer}.tif"


def _metadata(patch: Patch, land: Land) -> dict[str, Any]:
    codes = set(np.unique(land.codes).tolist())
    place = f"{patch.column}_{patch.row}"
    country, _, _, region = TILES[patch.tile]
    satellite, level, time, *_, mgrs = patch.tile.split("_")
    return {
        "patch_id": patch.patch_id,
        "labels": sorted(name for name, of_class in BEN19 if codes & set(of_class)),
        "split": _SPLITS[(patch.column + 2 * patch.row) % len(_SPLITS)],
        "country": country,
        "s1_name": f"S1B_IW_GRDH_1SDV_{time[:8]}T165809_{mgrs[1:]}_{place}",
        "s2v1_name": f"{satellite}_{level}_{time}_{place}",
        "contains_seasonal_snow": land.covered and region.snow,
        "contains_cloud_or_shadow": land.covered and not region.snow,
    }
