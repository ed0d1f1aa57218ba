"""Tile bundles: plain tars of a tile's wanted members, between reading the archives and converting.

A bundle's blocks are the archive's own, copied unread, so that writing one costs next to nothing and no
GeoTIFF of its own ever lies on the disk.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigearthnet.archive.reader import ArchiveReader, Wanted, plain
from bigearthnet.errors import ArchiveError
from bigearthnet.names import IMAGES_ROOT, MAP, MAPS_ROOT, RGB_BANDS, Member, parse_patch
from bigearthnet.plan.selection import Index, Plan, TilePlan

_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundles:
    """A tile's two bundles, and the ids of patches in the archive that neither maps nor metadata name."""

    images: Path
    maps: Path
    strays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PatchFiles:
    """The GeoTIFFs of a patch as they lay in the archives; `bands` may lack some, `map` be none."""

    patch_id: str
    bands: dict[str, bytes]
    map: bytes | None


class Extractor:
    """Both archives, open, read side by side a tile at a time.

    Args:
        images: reader of the images' archive.
        maps: reader of the reference maps' archive.
        plan: what will be asked for, in this order; tiles may be left out.
        asked_for: whether a tile that nobody knew of belongs to the selection.
    """

    def __init__(
        self, images: ArchiveReader, maps: ArchiveReader, plan: Plan, asked_for: Callable[[str], bool]
    ) -> None:
        self._images = images
        self._maps = maps
        self._plan = plan
        self._asked_for = asked_for

    def extract(self, tile: TilePlan, folder: Path) -> Bundles:
        """Write the bundles of a tile into `folder`, reading on from where the last tile ended.

        Raises:
            ArchiveError: an archive is damaged, or not in the published form.
        """
        wanted = frozenset(tile.patch_ids)
        known = frozenset(tile.known.tolist())
        last = self._plan.reads_to_the_end and tile.tile == self._plan.tiles[-1].tile
        strays: dict[str, None] = {}

        def on_passed(member: Member) -> None:
            if self._is_stray(member, tile, known):
                strays[member.patch_id] = None

        paths = (folder / f"{tile.tile}.images.tar", folder / f"{tile.tile}.maps.tar")
        layers = [RGB_BANDS, (MAP,)]
        heard: list[Callable[[Member], None]] = [on_passed, lambda _: None]
        for reader, path, taken, hear in zip((self._images, self._maps), paths, layers, heard, strict=True):
            with path.open("wb", buffering=_BUFFER) as sink:
                asked = Wanted(tile.tile, wanted, taken, to_the_end=tile.is_complete)
                reader.copy_tile(asked, sink, on_passed=hear, last=last)
        return Bundles(*paths, tuple(strays))

    def _is_stray(self, member: Member, tile: TilePlan, known: frozenset[int]) -> bool:
        if not tile.whole:
            return False
        if member.tile == tile.tile:
            patch = parse_patch(member.patch_id)
            return 100 * patch.column + patch.row not in known
        return (
            member.tile > tile.after
            and member.tile not in self._plan.known_tiles
            and self._asked_for(member.tile)
        )


def index_archive(reader: ArchiveReader) -> Index:
    """List what an archive holds, reading it to its end.

    Raises:
        ArchiveError: it is damaged, not in the published form, or holds no patch.
    """
    places: dict[str, list[int]] = {}
    last = ""
    for member, _ in reader:
        if member.patch_id != last:
            patch = parse_patch(member.patch_id)
            places.setdefault(patch.tile, []).append(100 * patch.column + patch.row)
            last = member.patch_id
    if not places:
        raise ArchiveError(f"{reader.name}: expected patches, found an archive without any; fetch it again")
    return {tile: np.array(found, np.uint16) for tile, found in places.items()}


def patch_files(bundles: Bundles, patch_ids: Sequence[str]) -> Iterator[PatchFiles]:
    """Yield the files of each patch, in the order of `patch_ids` (ascending), found or not."""
    with bundles.images.open("rb") as images, bundles.maps.open("rb") as maps:
        bands = _by_patch(ArchiveReader(plain(images), IMAGES_ROOT, bundles.images.name))
        codes = _by_patch(ArchiveReader(plain(maps), MAPS_ROOT, bundles.maps.name))
        yield from join(patch_ids, bands, codes)


def join(
    patch_ids: Sequence[str],
    bands: Iterator[tuple[str, dict[str, bytes]]],
    maps: Iterator[tuple[str, dict[str, bytes]]],
) -> Iterator[PatchFiles]:
    """Put images and maps together by patch id.

    All three come in ascending order, and every image and map is of one of `patch_ids`.
    """
    image, mask = next(bands, None), next(maps, None)
    for patch_id in patch_ids:
        found_bands: dict[str, bytes] = {}
        found_map: bytes | None = None
        if image is not None and image[0] == patch_id:
            found_bands, image = image[1], next(bands, None)
        if mask is not None and mask[0] == patch_id:
            found_map, mask = mask[1].get(MAP), next(maps, None)
        yield PatchFiles(patch_id, found_bands, found_map)


def _by_patch(reader: ArchiveReader) -> Iterator[tuple[str, dict[str, bytes]]]:
    current, layers = "", dict[str, bytes]()
    for member, blocks in reader:
        if member.patch_id != current:
            if current:
                yield current, layers
            current, layers = member.patch_id, {}
        layers[member.layer] = blocks.content
    if current:
        yield current, layers
