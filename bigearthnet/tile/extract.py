"""Extract the wanted members of a tile from both archives into bundles."""

from collections.abc import Callable
from pathlib import Path

from bigearthnet.archive import ArchiveReader, Bundles, Wanted
from bigearthnet.archive.bundle import cell_of
from bigearthnet.names import MAP, RGB_BANDS, Member
from bigearthnet.plan.selection import Plan, TilePlan


class Extractor:
    """Reads both archives side by side, a tile at a time.

    Args:
        images: reader of the archive of images.
        maps: reader of the archive of reference maps.
        plan: tiles that will be asked for, in this order; some can be left out.
        is_selected: True for the name of a tile that belongs to the selection.
    """

    def __init__(
        self,
        images: ArchiveReader,
        maps: ArchiveReader,
        plan: Plan,
        is_selected: Callable[[str], bool],
    ) -> None:
        self._images = images
        self._maps = maps
        self._plan = plan
        self._is_selected = is_selected

    def extract(self, tile: TilePlan, folder: Path) -> Bundles:
        """Write the bundles of a tile into `folder`.

        Raises:
            ArchiveError: an archive is damaged or not in the published form.
        """
        patch_ids, known = frozenset(tile.patch_ids), frozenset(tile.known.tolist())
        last = self._plan.reads_to_the_end and tile.tile == self._plan.tiles[-1].tile
        strays: dict[str, None] = {}

        def note_stray(member: Member) -> None:
            if self._is_stray(member, tile, known):
                strays[member.patch_id] = None

        def copy(
            reader: ArchiveReader, kind: str, layers: tuple[str, ...], on_passed: Callable[[Member], None]
        ) -> Path:
            path = folder / f"{tile.tile}.{kind}.tar"
            with path.open("wb") as sink:
                wanted = Wanted(tile.tile, patch_ids, layers, to_the_end=tile.is_complete)
                reader.copy_tile(wanted, sink, on_passed=on_passed, last=last)
            return path

        images = copy(self._images, "images", RGB_BANDS, note_stray)
        maps = copy(self._maps, "maps", (MAP,), lambda _: None)
        return Bundles(images, maps, tuple(strays))

    def _is_stray(self, member: Member, tile: TilePlan, known: frozenset[int]) -> bool:
        if not tile.whole:
            return False
        if member.tile == tile.tile:
            return cell_of(member.patch_id) not in known
        return (
            member.tile > tile.after
            and member.tile not in self._plan.known_tiles
            and self._is_selected(member.tile)
        )
