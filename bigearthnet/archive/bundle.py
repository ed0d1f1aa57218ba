"""Tile bundles: plain tars of a tile's wanted members, written by extraction and read by conversion.

The blocks are the archive's own, copied without a look at their content: no GeoTIFF of its own is ever on
the disk.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import zstandard

from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.archive.tar import END_OF_ARCHIVE
from bigearthnet.errors import ArchiveError
from bigearthnet.names import IMAGES_ROOT, MAP, MAPS_ROOT, TILES_LIMIT, Root, parse_patch
from bigearthnet.store.disk import translate_os_errors

_READ = 1 << 17
_BUFFER = 1 << 20
_PACKED = ".zst"
_LEVEL = 1
"""Of compression: higher ones take longer than the extraction itself, and save little."""

Cells = npt.NDArray[np.uint16]
"""Cells of a tile as 100 × column + row, ascending: the order of the patch ids."""

Index = Mapping[str, Cells]
"""The cells of each tile of an archive."""


@dataclass(frozen=True, slots=True)
class TileRequest:
    """The members of a tile to extract."""

    tile: str
    images: Collection[str]  # ids of the patches whose bands are wanted
    maps: Collection[str]  # ids of the patches whose reference maps are wanted
    known: Cells | None  # patches in other cells are reported; None: they are not
    complete: bool  # read the tile to its end, otherwise to its last wanted patch
    last: bool  # no other tile will be asked for: read the archives to their ends


@dataclass(frozen=True, slots=True)
class Bundles:
    """The bundles of a tile, None where nothing was asked for, and the ids of unknown patches."""

    images: Path | None
    maps: Path | None
    unknown: tuple[str, ...]

    def remove(self) -> None:
        """Remove the files."""
        for path in filter(None, (self.images, self.maps)):
            with translate_os_errors("remove", path):
                path.unlink()


@dataclass(frozen=True, slots=True)
class Extractor:
    """Both archives, open, read side by side a tile at a time; of the images only some bands are wanted."""

    images: ArchiveReader
    maps: ArchiveReader
    bands: Collection[str]

    def extract(self, request: TileRequest, folder: Path, *, packed: bool = False) -> Bundles:
        """Write the bundles of a tile into `folder`, reading on from the end of the last tile.

        With `packed` they are compressed by zstd.

        Raises:
            ArchiveError: an archive is damaged, or not in the published form.
            StoreError: the folder cannot be written.
            SpaceError: the disk is full.
        """
        tile, ending = request.tile, f".tar{_PACKED if packed else ''}"
        images = maps = None
        unknown: tuple[str, ...] = ()
        if request.images or request.known is not None:
            images = folder / f"{tile}.images{ending}"
            others = copy_tile(self.images, request, request.images, self.bands, images)
            if request.known is not None:
                known = frozenset(request.known.tolist())
                unknown = tuple(patch_id for patch_id in others if cell_of(patch_id) not in known)
        if request.maps:
            maps = folder / f"{tile}.maps{ending}"
            copy_tile(self.maps, request, request.maps, (MAP,), maps)
        return Bundles(images, maps, unknown)


def copy_tile(
    reader: ArchiveReader,
    request: TileRequest,
    patch_ids: Collection[str],
    layers: Collection[str],
    path: Path,
) -> list[str]:
    """Write the wanted layers of patches, with their own blocks, to a tar; skip the tiles before theirs.

    Returns:
        Ids of the other patches of the tile, as far as it was read.

    Raises: as `Extractor.extract`.
    """
    tile, wanted, others = request.tile, frozenset(patch_ids), dict[str, None]()
    final = "~" if request.complete else max(patch_ids, default="")
    with translate_os_errors("write", path), _create(path) as sink:
        for member, blocks in reader:
            if member.tile > tile or (member.tile == tile and member.patch_id > final):
                reader.put_back(member, blocks)
                break
            if member.patch_id in wanted:
                if member.layer in layers:
                    sink.write(blocks.blocks)
            elif member.tile == tile:
                others[member.patch_id] = None
        sink.write(END_OF_ARCHIVE)
    if request.last:
        deque(reader, maxlen=0)  # so that all of it is checked
    return list(others)


def index_archive(reader: ArchiveReader) -> Index:
    """List tiles and cells of an archive, reading it to its end.

    Raises:
        ArchiveError: it is damaged, not in the published form, or holds no patch.
    """
    cells: dict[str, Cells] = {}
    for tile, members in groupby(reader, lambda read: read[0].tile):
        patches = groupby(members, lambda read: read[0].patch_id)
        cells[tile] = np.fromiter((cell_of(patch_id) for patch_id, _ in patches), np.uint16)
        if len(cells) > TILES_LIMIT:
            raise ArchiveError(f"{reader.name} has more than {TILES_LIMIT:,} tiles. Choose BigEarthNet v2.")
    if not cells:
        raise ArchiveError(f"{reader.name} has no patches. Fetch it again.")
    return cells


def patch_files(bundles: Bundles, patch_ids: Sequence[str]) -> Iterator[dict[str, bytes]]:
    """Yield the GeoTIFFs of each patch by layer (band, or `MAP`), in the order of `patch_ids` (ascending).

    Layers that the bundles do not have are left out.
    """
    images = _files(bundles.images, IMAGES_ROOT, patch_ids)
    maps = _files(bundles.maps, MAPS_ROOT, patch_ids)
    for bands, found in zip(images, maps, strict=True):
        yield bands | found


def cell_of(patch_id: str) -> int:
    """Return the cell of a patch in its tile, 100 × column + row."""
    patch = parse_patch(patch_id)
    return 100 * patch.column + patch.row


@contextmanager
def _create(path: Path) -> Iterator[BinaryIO]:
    """Open a new bundle, compressed if its name ends so."""
    with path.open("wb", buffering=_BUFFER) as file:
        if path.suffix != _PACKED:
            yield file
            return
        compressor = zstandard.ZstdCompressor(_LEVEL, write_checksum=True)
        with compressor.stream_writer(file, closefd=False) as packed:
            yield packed


def _files(bundle: Path | None, root: Root, patch_ids: Sequence[str]) -> Iterator[dict[str, bytes]]:
    """Yield the files of each patch in one bundle."""
    if bundle is None:
        yield from ({} for _ in patch_ids)
        return
    with bundle.open("rb") as file:
        plain = iter(lambda: file.read(_READ), b"")
        reader = ArchiveReader(decompress(file) if bundle.suffix == _PACKED else plain, root, bundle.name)
        patches = groupby(reader, lambda read: read[0].patch_id)
        found, members = next(patches, ("", iter(())))
        for patch_id in patch_ids:
            if found == patch_id:
                yield {member.layer: blocks.content for member, blocks in members}
                found, members = next(patches, ("", iter(())))
            else:
                yield {}
