"""Small archives of random content, and what is read from them."""

import io
import random
from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

from bigearthnet.archive import bundle
from bigearthnet.archive.bundle import TileRequest
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.archive.tar import walk
from bigearthnet.names import BANDS, IMAGES_ROOT, RGB_BANDS
from bigearthnet.sample.archives import write_archive

TILES = [f"S2A_MSIL2A_2017061{i}T101031_N9999_R022_T33UUP" for i in range(5)]

Members = list[tuple[str, bytes]]


def members_of(tile: str, rows: Iterable[int], bands: Iterable[str] = BANDS, size: int = 600) -> Members:
    """Members of the archive of images; their contents do not compress."""
    stems = [f"BigEarthNet-S2/{tile}/{tile}_05_{row:02d}/{tile}_05_{row:02d}" for row in rows]
    paths = [f"{stem}_{band}.tif" for stem in stems for band in bands]
    return [(path, random.Random(path).randbytes(size)) for path in paths]


def packed(folder: Path, members: Iterable[tuple[str, bytes]]) -> bytes:
    write_archive(folder / "archive.tar.zst", members)
    return (folder / "archive.tar.zst").read_bytes()


def reader_of(data: bytes) -> ArchiveReader:
    return ArchiveReader(decompress(io.BytesIO(data)), IMAGES_ROOT, "images.tar.zst")


def everything(data: bytes) -> Members:
    return [
        (f"BigEarthNet-S2/{m.tile}/{m.patch_id}/{m.patch_id}_{m.layer}.tif", blocks.content)
        for m, blocks in reader_of(data)
    ]


def copy_tile(
    reader: ArchiveReader,
    tile: str,
    rows: Iterable[int],
    layers: Iterable[str] = RGB_BANDS["true_colour"],
    *,
    complete: bool = True,
    last: bool = False,
) -> tuple[Members, list[str]]:
    """Copy members of a tile; returns what was copied, and the rows of the other patches."""
    patch_ids = [f"{tile}_05_{row:02d}" for row in rows]
    with NamedTemporaryFile() as file:
        request = TileRequest(tile, [], [], None, complete=complete, last=last)
        others = bundle.copy_tile(reader, request, patch_ids, tuple(layers), Path(file.name))
        copied = [(member.path.decode(), member.content) for member in walk(iter([file.read()]))]
    return copied, [patch_id[-2:] for patch_id in others]
