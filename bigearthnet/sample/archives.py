"""A small BigEarthNet v2 made on the spot: archives and metadata in exactly the published form.

The land is procedural (`landscape`), everything else is as in the published dataset: names, places,
GeoTIFFs, GNU tar, one zstd frame, Parquet columns. The same arguments give the same bytes.
"""

import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from rasterio import Affine
from rasterio.io import MemoryFile

from bigearthnet import names
from bigearthnet.classes import BEN19
from bigearthnet.names import BANDS, MAP, PATCH_METRES, Patch, Root
from bigearthnet.sample.landscape import Land, Region, reflectance, survey

ZSTD_LEVEL: Final = 6  # of the published archives
TILE_PATCHES: Final = 91  # along the side of a tile of 109.8 km

_SIDES: Final = {"B01": 20, "B09": 20, "B02": 120, "B03": 120, "B04": 120, "B08": 120}
"""Pixels along the side of a patch in bands of 60 m and of 10 m; in the others, of 20 m, there are 60."""
_MTIME: Final = 1704067200  # 2024-01-01 UTC

_ALPINE = Region((211, 211, 231, 242), (311, 313, 312), (243, 321, 231))
_COAST = Region((211, 244, 221, 211, 223), (311, 323, 312), (323, 321, 243), treeline=0.56, sea=0.41)
_NORTH = Region((211, 211, 231), (312, 313, 312, 311), (324, 412, 243), treeline=0.48, sea=0.4, snow=True)
_BOREAL = Region((211, 231), (312, 312, 313, 311), (324, 412, 322), treeline=0.46)
_GREEN = Region((231, 231, 231, 211), (311, 312), (412, 322, 243), treeline=0.6)
_PLAIN = Region((211, 211, 211, 242, 231), (311, 311, 313), (243, 321, 231), treeline=0.57)
_TILES: Final[dict[str, tuple[str, int, int, Region]]] = {
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP": ("Austria", 300_000, 5_400_000, _ALPINE),
    "S2A_MSIL2A_20170704T112111_N9999_R037_T29SND": ("Portugal", 499_980, 4_400_040, _COAST),
    "S2A_MSIL2A_20180413T095031_N9999_R079_T35VLG": ("Finland", 300_000, 6_700_020, _NORTH),
    "S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU": ("Ireland", 600_000, 5_900_040, _GREEN),
    "S2B_MSIL2A_20170914T093029_N9999_R136_T34TEQ": ("Serbia", 499_980, 5_000_040, _PLAIN),
    "S2B_MSIL2A_20170927T094019_N9999_R036_T35ULB": ("Lithuania", 300_000, 6_200_040, _PLAIN),
    "S2B_MSIL2A_20180506T105029_N9999_R051_T31UER": ("Belgium", 499_980, 5_600_040, _PLAIN),
    "S2A_MSIL2A_20170818T103021_N9999_R108_T32TMT": ("Switzerland", 399_960, 5_300_040, _ALPINE),
    "S2A_MSIL2A_20180508T104031_N9999_R008_T31UGR": ("Luxembourg", 699_960, 5_600_040, _ALPINE),
    "S2A_MSIL2A_20171208T093351_N9999_R136_T34TEN": ("Kosovo", 499_980, 4_800_000, _ALPINE),
    "S2A_MSIL2A_20170613T101031_N9999_R022_T34VER": ("Finland", 499_980, 7_100_040, _NORTH),
    "S2B_MSIL2A_20170924T093019_N9999_R136_T35VNH": ("Finland", 499_980, 6_800_040, _BOREAL),
}
"""Tiles of the dataset: country, x and y of the upper-left corner in metres, and what their land is like."""
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
    """What `make_sample` has made: its folder, its tiles by name, and how many patches they hold."""

    folder: Path
    tiles: tuple[str, ...]
    patches: int


def make_sample(folder: Path, *, patches: int = 60, tiles: int = 3, seed: int = 0) -> Sample:
    """Write the four record files into `folder`, each beside its place, then moved.

    Args:
        folder: made if it does not exist; the files of an earlier sample are replaced.
        patches: how many, in all tiles together.
        tiles: how many, 1 to 12.
        seed: another seed, another land; the same, the same bytes.

    Raises:
        ValueError: so many patches and tiles do not fit together.
    """
    places = sample_patches(patches, tiles, seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with _archive(folder / names.IMAGES_ARCHIVE) as images, _archive(folder / names.MAPS_ARCHIVE) as maps:
        for patch in places:
            land = _land(patch, seed)
            for member in _members("BigEarthNet-S2", patch, seed, land):
                images(*member)
            for member in _members("Reference_Maps", patch, seed, land):
                maps(*member)
            rows[land.snow or land.cloud_or_shadow].append(_metadata(patch, land))
    _write_metadata(folder / names.METADATA_FILE, rows[False])
    _write_metadata(folder / names.METADATA_SNOW_CLOUD_SHADOW_FILE, rows[True])
    return Sample(folder, tuple(dict.fromkeys(patch.tile for patch in places)), len(places))


def sample_patches(patches: int, tiles: int, seed: int) -> list[Patch]:
    """The patches of a sample, sorted: a compact block in each tile, whose sizes are about as 1 : 2 : 3...

    Raises:
        ValueError: so many patches and tiles do not fit together.
    """
    weights = max(tiles * (tiles + 1), 1)
    ends = [(patches - tiles) * n * (n + 1) // weights + n for n in range(tiles + 1)]
    if not (1 <= tiles <= len(_TILES) and patches >= tiles and ends[-1] - ends[-2] <= TILE_PATCHES**2):
        raise ValueError(
            f"expected 1 to {len(_TILES)} tiles of 1 to {TILE_PATCHES**2} patches, "
            f"found {patches} patches for {tiles} tiles, the last the largest; change one of the two"
        )
    chosen = sorted(list(_TILES)[:tiles])
    sizes = [end - start for start, end in pairwise(ends)]
    return [patch for tile, size in zip(chosen, sizes, strict=True) for patch in _block(tile, size, seed)]


def sample_members(root: Root, patches: Iterable[Patch], seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Path and content of each member of the archive of `root` that holds these patches, in their order."""
    for patch in patches:
        yield from _members(root, patch, seed, _land(patch, seed))


def patch_files(patch: Patch, seed: int) -> dict[str, bytes]:
    """The GeoTIFFs of a patch: layer (`BANDS`, and `MAP` for the reference map) -> content.

    Raises:
        ValueError: the sample does not know the tile.
    """
    land = _land(patch, seed)
    return _images(patch, seed, land) | _map(patch, land)


def geotiff(pixels: npt.NDArray[Any], *, crs: str, transform: Affine, compress: bool) -> bytes:
    """A GeoTIFF with one band and nodata 0, laid out as the published ones.

    Args:
        pixels: the band, of shape (height, width) and any type that GeoTIFF knows.
        crs: such as `EPSG:32633`.
        transform: from pixels to metres.
        compress: deflate with horizontal differences, as the reference maps; else none, as the images.
    """
    height, width = pixels.shape
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": pixels.dtype}
    extra = {"compress": "deflate", "predictor": 2} if compress else {}
    with MemoryFile() as memory:
        with memory.open(**profile, crs=crs, transform=transform, nodata=0, **extra) as file:
            file.write(pixels, 1)
        return bytes(memory.getbuffer())


def write_archive(path: Path, members: Iterable[tuple[str, bytes]], *, level: int = ZSTD_LEVEL) -> None:
    """Write members (path, content), in the order given, as published: GNU tar in one zstd frame."""
    with _archive(path, level) as add:
        for name, content in members:
            add(name, content)


@contextmanager
def _archive(path: Path, level: int = ZSTD_LEVEL) -> Iterator[Callable[[str, bytes], None]]:
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    written = 0
    with (
        _beside(path) as part,
        part.open("wb") as file,
        compressor.stream_writer(file, closefd=False) as frame,
    ):

        def add(name: str, content: bytes) -> None:
            nonlocal written
            written += frame.write(_tar_member(name.encode(), content))

        yield add
        frame.write(bytes(1024 + -(written + 1024) % 10240))  # two blocks of zeros, and up to a whole record


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved there when all went well."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _tar_member(name: bytes, content: bytes) -> bytes:
    """Headers, content and padding, byte for byte as GNU tar 1.34 writes them."""
    block = _tar_header(name, len(content), _MTIME, b"0") + _padded(content)
    if len(name) <= 100:
        return block
    return _tar_header(b"././@LongLink", len(name) + 1, 0, b"L") + _padded(name + b"\0") + block


def _tar_header(name: bytes, size: int, mtime: int, kind: bytes) -> bytes:
    """A header block; its fields and their places: GNU tar's manual, "Basic Tar Format"."""
    start = name[:100].ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0"
    start += b"%011o\0%011o\0" % (size, mtime)
    end = kind + bytes(100) + b"ustar  \0" + 2 * b"root".ljust(32, b"\0") + bytes(183)
    return start + b"%06o\0 " % (sum(start) + sum(b" " * 8) + sum(end)) + end


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def _members(root: Root, patch: Patch, seed: int, land: Land) -> Iterator[tuple[str, bytes]]:
    start = f"{root}/{patch.tile}/{patch.patch_id}/{patch.patch_id}"
    files = _map(patch, land) if root == names.MAPS_ROOT else _images(patch, seed, land)
    return ((f"{start}_{layer}.tif", content) for layer, content in files.items())


def _block(tile: str, size: int, seed: int) -> Iterator[Patch]:
    """`size` patches side by side, somewhere in the tile."""
    height = math.isqrt(size - 1) + 1
    width = -(-size // height)
    place = _key(seed, tile, "block")
    column = place % (TILE_PATCHES + 1 - width)
    row = (place >> 16) % (TILE_PATCHES + 1 - height)
    return (Patch(tile, column + n // height, row + n % height) for n in range(size))


def _key(*parts: object) -> int:
    """A number below 2^48 that stands for the parts."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=6).digest())


def _land(patch: Patch, seed: int) -> Land:
    if patch.tile not in _TILES:
        raise ValueError(f"expected a tile of the sample ({', '.join(_TILES)}), found {patch.tile}")
    *_, region = _TILES[patch.tile]
    key, season = _key(seed, patch.tile[-5:]), _key(seed, patch.tile)
    return survey(region, key=key, season=season, column=patch.column, row=patch.row)


def _images(patch: Patch, seed: int, land: Land) -> dict[str, bytes]:
    noise = np.random.default_rng(_key(seed, patch.patch_id))
    sides = ((band, _SIDES.get(band, 60)) for band in BANDS)
    bands = {band: reflectance(land, band=band, side=side, noise=noise) for band, side in sides}
    return {band: _image(pixels, *_georeference(patch)) for band, pixels in bands.items()}


def _image(pixels: npt.NDArray[np.uint16], crs: str, x: int, y: int) -> bytes:
    """What `geotiff` gives for these pixels there, from its file for others: that saves most of the time."""
    blank, tie_point = _blank(len(pixels), crs)
    end = len(blank) - pixels.nbytes
    corner = struct.pack("<2d", x, y)
    return blank[:tie_point] + corner + blank[tie_point + 16 : end] + pixels.astype("<u2").tobytes()


@lru_cache(maxsize=64)
def _blank(side: int, crs: str) -> tuple[bytes, int]:
    """A GeoTIFF of ones, and where its tie point's x and y are; its pixels are the end of the file.

    Of ones, because GDAL puts strips of nothing but nodata into another order.
    """
    transform = Affine(PATCH_METRES / side, 0, 1.5, 0, -PATCH_METRES / side, 2.5)
    blank = geotiff(np.ones((side, side), np.uint16), crs=crs, transform=transform, compress=False)
    return blank, blank.index(struct.pack("<2d", 1.5, 2.5))


def _map(patch: Patch, land: Land) -> dict[str, bytes]:
    crs, x, y = _georeference(patch)
    return {MAP: geotiff(land.codes, crs=crs, transform=Affine(10, 0, x, 0, -10, y), compress=True)}


def _georeference(patch: Patch) -> tuple[str, int, int]:
    """CRS (the UTM zone of the tile's name), x and y in metres of the upper-left corner of a patch."""
    _, x, y, _ = _TILES[patch.tile]
    crs = f"EPSG:326{patch.tile[-5:-3]}"
    return crs, x + patch.column * PATCH_METRES, y - patch.row * PATCH_METRES


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


def _write_metadata(path: Path, rows: list[dict[str, Any]]) -> None:
    with _beside(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), part, compression="zstd", store_schema=False)
