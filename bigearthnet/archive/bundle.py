"""Tile bundles: plain tars of a tile's wanted members, between extraction and conversion.

The blocks are copied from the archive unchanged, so that writing a bundle costs almost nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigearthnet.archive.reader import ArchiveReader, plain
from bigearthnet.errors import ArchiveError
from bigearthnet.names import IMAGES_ROOT, MAP, MAPS_ROOT, parse_patch

Cells = npt.NDArray[np.uint16]
"""Cells of a tile as 100 × column + row, ascending: the order of the patch ids."""
Index = Mapping[str, Cells]
"""Cells of each tile of an archive."""


@dataclass(frozen=True, slots=True)
class Bundles:
    """The two bundles of a tile, and the ids of patches that neither maps nor metadata list."""

    images: Path
    maps: Path
    strays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatchFiles:
    """GeoTIFFs of a patch; a band or the map can be missing."""

    patch_id: str
    bands: dict[str, bytes]
    map: bytes | None


def index_archive(reader: ArchiveReader) -> Index:
    """List the patches of an archive, reading it to its end.

    Raises:
        ArchiveError: it is damaged, not in the published form, or without patches.
    """
    cells: dict[str, list[int]] = {}
    for (tile, patch_id), _ in groupby(reader, lambda read: read[0][:2]):
        cells.setdefault(tile, []).append(cell_of(patch_id))
    if not cells:
        raise ArchiveError(f"{reader.name} has no patches. Fetch it again.")
    return {tile: np.array(found, np.uint16) for tile, found in cells.items()}


def patch_files(bundles: Bundles, patch_ids: Sequence[str]) -> Iterator[PatchFiles]:
    """Yield the files of each patch, in the order of `patch_ids` (ascending), also if there are none."""
    with bundles.images.open("rb") as images, bundles.maps.open("rb") as maps:
        bands = _layers(ArchiveReader(plain(images), IMAGES_ROOT, bundles.images.name))
        codes = _layers(ArchiveReader(plain(maps), MAPS_ROOT, bundles.maps.name))
        image, mask = next(bands, None), next(codes, None)
        for patch_id in patch_ids:
            found: dict[str, bytes] = {}
            found_map = None
            if image is not None and image[0] == patch_id:
                found, image = image[1], next(bands, None)
            if mask is not None and mask[0] == patch_id:
                found_map, mask = mask[1][MAP], next(codes, None)
            yield PatchFiles(patch_id, found, found_map)


def _layers(reader: ArchiveReader) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the id of each patch and its files by layer."""
    for patch_id, members in groupby(reader, lambda read: read[0].patch_id):
        yield patch_id, {member.layer: blocks.content for member, blocks in members}


def cell_of(patch_id: str) -> int:
    """Return the cell of a patch in its tile, 100 × column + row."""
    patch = parse_patch(patch_id)
    return 100 * patch.column + patch.row
