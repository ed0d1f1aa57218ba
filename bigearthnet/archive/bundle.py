"""Tile bundles: plain tars of a tile's wanted members, written by extraction and read by conversion.

The blocks are the archive's own, copied without a look at their content: no GeoTIFF of its own is ever on
the disk.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigearthnet.archive.reader import ArchiveReader, Wanted, plain
from bigearthnet.errors import ArchiveError
from bigearthnet.names import IMAGES_ROOT, MAP, MAPS_ROOT, RGB_BANDS, Member, Root, parse_patch
from bigearthnet.store.disk import translate_os_errors

_BUFFER = 1 << 20

Cells = npt.NDArray[np.uint16]
"""Cells of a tile as 100 × column + row, ascending: the order of the patch ids."""

Index = Mapping[str, Cells]
"""The cells of each tile of an archive."""


@dataclass(frozen=True, slots=True)
class TileRequest:
    """The members of a tile to extract.

    Attributes:
        tile: its name.
        images: ids of the patches whose bands are wanted.
        maps: ids of the patches whose reference maps are wanted.
        known: cells that the reference maps or the metadata list; patches in other cells are reported. None:
            they are not.
        complete: read the tile to its end, otherwise to its last wanted patch.
        last: no other tile will be asked for: read the archives to their ends.
    """

    tile: str
    images: Collection[str]
    maps: Collection[str]
    known: Cells | None
    complete: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Bundles:
    """The bundles of a tile, None where nothing was asked for, and the ids of unknown patches."""

    images: Path | None
    maps: Path | None
    unknown: tuple[str, ...]

    def remove(self) -> None:
        """Remove the files."""
        for path in filter(None, (self.images, self.maps)):
            path.unlink()


@dataclass(frozen=True, slots=True)
class PatchFiles:
    """The GeoTIFFs of a patch; `bands` may lack some, `map` be None."""

    bands: dict[str, bytes]
    map: bytes | None


class Extractor:
    """Both archives, open, read side by side a tile at a time."""

    def __init__(self, images: ArchiveReader, maps: ArchiveReader) -> None:
        self._images = images
        self._maps = maps

    def extract(self, request: TileRequest, folder: Path) -> Bundles:
        """Write the bundles of a tile into `folder`, reading on from the end of the last tile.

        Raises:
            ArchiveError: an archive is damaged, or not in the published form.
            DestinationError: the folder cannot be written.
            SpaceError: the disk is full.
        """
        known = None if request.known is None else frozenset(request.known.tolist())
        unknown: dict[str, None] = {}

        def on_passed(member: Member) -> None:
            if known is not None and member.tile == request.tile and cell_of(member.patch_id) not in known:
                unknown[member.patch_id] = None

        images = maps = None
        if request.images or request.known is not None:
            images = folder / f"{request.tile}.images.tar"
            wanted = Wanted(request.tile, request.images, RGB_BANDS, to_the_end=request.complete)
            with translate_os_errors("write", images), images.open("wb", buffering=_BUFFER) as sink:
                self._images.copy_tile(wanted, sink, on_passed=on_passed, last=request.last)
        if request.maps:
            maps = folder / f"{request.tile}.maps.tar"
            wanted = Wanted(request.tile, request.maps, (MAP,), to_the_end=request.complete)
            with translate_os_errors("write", maps), maps.open("wb", buffering=_BUFFER) as sink:
                self._maps.copy_tile(wanted, sink, on_passed=lambda _: None, last=request.last)
        return Bundles(images, maps, tuple(unknown))


def index_archive(reader: ArchiveReader) -> Index:
    """List tiles and cells of an archive, reading it to its end.

    Raises:
        ArchiveError: it is damaged, not in the published form, or holds no patch.
    """
    cells: dict[str, list[int]] = {}
    for (tile, patch_id), _ in groupby(reader, lambda read: read[0][:2]):
        cells.setdefault(tile, []).append(cell_of(patch_id))
    if not cells:
        raise ArchiveError(f"{reader.name} has no patches. Fetch it again.")
    return {tile: np.array(found, np.uint16) for tile, found in cells.items()}


def patch_files(bundles: Bundles, patch_ids: Sequence[str]) -> Iterator[PatchFiles]:
    """Yield the files of each patch, in the order of `patch_ids` (ascending), found or not."""
    images = _layers(bundles.images, IMAGES_ROOT)
    maps = _layers(bundles.maps, MAPS_ROOT)
    image, mask = next(images, None), next(maps, None)
    for patch_id in patch_ids:
        bands: dict[str, bytes] = {}
        found: bytes | None = None
        if image is not None and image[0] == patch_id:
            bands, image = image[1], next(images, None)
        if mask is not None and mask[0] == patch_id:
            found, mask = mask[1].get(MAP), next(maps, None)
        yield PatchFiles(bands, found)


def _layers(bundle: Path | None, root: Root) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the id of each patch of a bundle and its files by layer."""
    if bundle is None:
        return
    with bundle.open("rb") as file:
        reader = ArchiveReader(plain(file), root, bundle.name)
        for patch_id, members in groupby(reader, lambda read: read[0].patch_id):
            yield patch_id, {member.layer: blocks.content for member, blocks in members}


def cell_of(patch_id: str) -> int:
    """Return the cell of a patch in its tile, 100 × column + row."""
    patch = parse_patch(patch_id)
    return 100 * patch.column + patch.row
