"""A drawn sample of BigEarthNet v2: archives and metadata in the published form.

The land is drawn by `landscape`. Everything else is as published: names, places, GeoTIFFs, GNU tar, one zstd
frame, Parquet columns. The same arguments give the same bytes.
"""

import hashlib
import io
import math
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from bigearthnet import names
from bigearthnet.classes import BEN19
from bigearthnet.names import BANDS, MAP, PATCH_METRES, Patch, Root
from bigearthnet.sample.geotiff import geotiff
from bigearthnet.sample.landscape import Land, Pixels, Region, reflectance, survey

SAMPLE_TITLE: Final = "Drawn sample in the form of BigEarthNet v2"
TILE_PATCHES: Final = 91  # along the side of a tile of 109.8 km

_ZSTD_LEVEL: Final = 6  # of the published archives
_SIDES: Final = {"B01": 20, "B09": 20, "B02": 120, "B03": 120, "B04": 120, "B08": 120}
"""Pixels along the side of a patch in bands of 60 m and of 10 m; those of 20 m have 60."""
_MTIME: Final = 1704067200  # 2024-01-01 UTC

_ALPINE = Region((211, 211, 231, 242), (311, 313, 312), (243, 321, 231))
_COAST = Region((211, 244, 221, 211, 223), (311, 323, 312), (323, 321, 243), treeline=0.56, sea=0.41)
_NORTH = Region((211, 211, 231), (312, 313, 312, 311), (324, 412, 243), treeline=0.48, sea=0.4, snow=True)
_GREEN = Region((231, 231, 231, 211), (311, 312), (412, 322, 243), treeline=0.6)
_TILES: Final[dict[str, tuple[str, int, int, Region]]] = {
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP": ("Austria", 300_000, 5_400_000, _ALPINE),
    "S2A_MSIL2A_20170704T112111_N9999_R037_T29SND": ("Portugal", 499_980, 4_400_040, _COAST),
    "S2A_MSIL2A_20180413T095031_N9999_R079_T35VLG": ("Finland", 300_000, 6_700_020, _NORTH),
    "S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU": ("Ireland", 600_000, 5_900_040, _GREEN),
}
"""Tiles of the dataset: country, x and y of the upper left corner in metres, and what is drawn."""
_SPLITS: Final = ("train", "validation", "train", "test")  # squares of 2 by 2 patches take turns
_SCHEMA: Final = pa.schema(
    [
        ("patch_id", pa.string()),
        ("labels", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("split", "country", "s1_name", "s2v1_name")),
        *((name, pa.bool_()) for name in ("contains_seasonal_snow", "contains_cloud_or_shadow")),
    ]
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample that was made: its folder, the names of its tiles, and its number of patches."""

    folder: Path
    tiles: tuple[str, ...]
    patches: int


def make_sample(folder: Path, *, patches: int = 60, tiles: int = 3) -> Sample:
    """Write the four record files into `folder`, in place of those of an earlier sample.

    The files are made in a folder of their own and then moved, metadata last: several processes can make
    the sample at the same time. The number of patches is that of all tiles (1 to 4) together.

    Raises:
        ValueError: the numbers of patches and tiles do not fit together.
    """
    drawn = sample_patches(patches, tiles)
    folder.mkdir(parents=True, exist_ok=True)
    maps: list[tuple[str, bytes]] = []
    rows: dict[bool, list[dict[str, Any]]] = {False: [], True: []}

    def images() -> Iterator[tuple[str, bytes]]:
        for patch in drawn:
            land = _land(patch)
            maps.append((_path(names.MAPS_ROOT, patch, MAP), _geotiff(patch, land.codes, compress=True)))
            rows[land.snow or land.cloud_or_shadow].append(_metadata(patch, land))
            for band, content in _images(patch, land).items():
                yield _path(names.IMAGES_ROOT, patch, band), content

    with TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        made = Path(temporary)
        write_archive(made / names.IMAGES_ARCHIVE, images())
        write_archive(made / names.MAPS_ARCHIVE, maps)
        for name, listed in zip(names.METADATA_FILES, rows.values(), strict=True):
            table = pa.Table.from_pylist(listed, _SCHEMA)
            pq.write_table(table, made / name, compression="zstd", store_schema=False)
        for name in (names.IMAGES_ARCHIVE, names.MAPS_ARCHIVE, *names.METADATA_FILES):
            (made / name).replace(folder / name)
    return Sample(folder, tuple(dict.fromkeys(patch.tile for patch in drawn)), len(drawn))


def sample_patches(patches: int, tiles: int) -> list[Patch]:
    """List the patches of a sample, sorted: a compact block in each tile, of sizes about 1 : 2 : 3 and so on.

    Raises:
        ValueError: the numbers of patches and tiles do not fit together.
    """
    weights = max(tiles * (tiles + 1), 1)
    ends = [(patches - tiles) * n * (n + 1) // weights + n for n in range(tiles + 1)]
    if not (1 <= tiles <= len(_TILES) and patches >= tiles and ends[-1] - ends[-2] <= TILE_PATCHES**2):
        raise ValueError(
            f"{patches} patches do not fit in {tiles} tiles; a sample has 1 to {len(_TILES)} tiles of 1 to "
            f"{TILE_PATCHES**2} patches"
        )
    sizes = [end - start for start, end in pairwise(ends)]
    chosen = sorted(list(_TILES)[:tiles])
    return [patch for tile, size in zip(chosen, sizes, strict=True) for patch in _block(tile, size)]


def patch_files(patch: Patch) -> dict[str, bytes]:
    """Draw the GeoTIFFs of a patch, by layer (`BANDS` and `MAP`); its tile is one of the sample's."""
    land = _land(patch)
    return _images(patch, land) | {MAP: _geotiff(patch, land.codes, compress=True)}


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write members (path and content), in the order given, as published: GNU tar in one zstd frame."""
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
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


def _block(tile: str, size: int) -> Iterator[Patch]:
    """`size` patches side by side, somewhere in the tile."""
    height = math.isqrt(size - 1) + 1
    width = -(-size // height)
    number = _number(0, tile, "block")
    column = number % (TILE_PATCHES + 1 - width)
    row = (number >> 16) % (TILE_PATCHES + 1 - height)
    return (Patch(tile, column + n // height, row + n % height) for n in range(size))


def _number(*parts: object) -> int:
    """A pseudorandom number below 2^48."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=6).digest())


def _land(patch: Patch) -> Land:
    *_, region = _TILES[patch.tile]
    key, season = _number(0, patch.tile[-5:]), _number(0, patch.tile)
    return survey(region, key=key, season=season, column=patch.column, row=patch.row)


def _images(patch: Patch, land: Land) -> dict[str, bytes]:
    noise = np.random.default_rng(_number(0, patch.patch_id))
    sides = {band: _SIDES.get(band, 60) for band in BANDS}
    bands = {band: reflectance(land, band=band, side=side, noise=noise) for band, side in sides.items()}
    return {band: _geotiff(patch, pixels, compress=False) for band, pixels in bands.items()}


def _geotiff(patch: Patch, pixels: Pixels, *, compress: bool) -> bytes:
    _, x, y, _ = _TILES[patch.tile]
    corner = x + patch.column * PATCH_METRES, y - patch.row * PATCH_METRES
    zone = int(patch.tile[-5:-3])
    return geotiff(pixels, zone, corner, metres=PATCH_METRES // len(pixels), compress=compress)


def _metadata(patch: Patch, land: Land) -> dict[str, Any]:
    codes = set(np.unique(land.codes).tolist())
    place = f"{patch.column}_{patch.row}"
    satellite, level, time, *_, mgrs = patch.tile.split("_")
    return {
        "patch_id": patch.patch_id,
        "labels": sorted(name for name, of_class in BEN19 if codes & set(of_class)),
        "split": _SPLITS[(patch.column // 2 + 2 * (patch.row // 2)) % len(_SPLITS)],
        "country": _TILES[patch.tile][0],
        "s1_name": f"S1B_IW_GRDH_1SDV_{time[:8]}T165809_{mgrs[1:]}_{place}",
        "s2v1_name": f"{satellite}_{level}_{time}_{place}",
        "contains_seasonal_snow": land.snow,
        "contains_cloud_or_shadow": land.cloud_or_shadow,
    }
