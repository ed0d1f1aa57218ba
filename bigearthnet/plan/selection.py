"""Which patches there are, and which of them are asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from bigearthnet.errors import SelectionError
from bigearthnet.names import Patch
from bigearthnet.options import SPLITS, Selection
from bigearthnet.plan.metadata import Metadata

Places = npt.NDArray[np.uint16]
"""Places in a tile as 100 × column + row, ascending: the order of the patch ids."""

Index = Mapping[str, Places]
"""What an archive holds: the places of each tile."""


@dataclass(frozen=True, slots=True, eq=False)
class TilePlan:
    """What to make of a tile.

    Attributes:
        tile: its name.
        places: of the patches that are asked for.
        known: of all its patches that maps or metadata name.
        whole: every patch of the tile is asked for, so that one that nobody knew of counts too.
        after: the planned tile before it; tiles nobody knew of, between the two, count with this one.
    """

    tile: str
    places: Places
    known: Places
    whole: bool
    after: str

    @property
    def is_complete(self) -> bool:
        """Whether no known patch of the tile is left out, so that it is read to its end."""
        return len(self.places) == len(self.known)

    @property
    def patch_ids(self) -> list[str]:
        """Ids of the patches that are asked for, ascending."""
        return [patch_id(self.tile, place) for place in self.places]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What to make: the tiles in the order of the archives."""

    tiles: tuple[TilePlan, ...]
    known_tiles: frozenset[str]
    reads_to_the_end: bool

    @property
    def patches(self) -> int:
        """How many patches are asked for."""
        return sum(len(tile.places) for tile in self.tiles)


def patch_id(tile: str, place: int) -> str:
    """The id of the patch at a place."""
    column, row = divmod(int(place), 100)
    return Patch(tile, column, row).patch_id


def plan(index: Index, metadata: Metadata | None, selection: Selection) -> Plan:
    """Decide what to make.

    Args:
        index: the tiles and patches of the reference maps' archive.
        metadata: what the record's metadata files say, if they are at hand.
        selection: what the person asks for.

    Raises:
        SelectionError: nothing matches, or it needs metadata that is not there.
    """
    if selection.needs_metadata and metadata is None:
        raise SelectionError(
            "expected the record's metadata files, which know splits, countries, snow and clouds, and found "
            "none; put metadata.parquet beside the archives, or select by tiles and max_patches only"
        )
    listed = metadata.tiles if metadata is not None else {}
    known = {
        tile: np.union1d(index.get(tile, _NONE), listed[tile]["place"] if tile in listed else _NONE)
        for tile in sorted(index.keys() | listed.keys())
    }
    wanted = _cut(_matching(known, metadata, selection), selection.max_patches)
    if not wanted:
        raise SelectionError(_nothing(selection, known, metadata))
    whole = not selection.needs_metadata
    tiles, after = [], ""
    for tile, places in wanted.items():
        complete = len(places) == len(known[tile])
        tiles.append(TilePlan(tile, places, known[tile], whole and complete, after))
        after = tile
    return Plan(tuple(tiles), frozenset(known), _ends_with_the_archive(tiles[-1], known))


_NONE: Places = np.empty(0, np.uint16)


def _matching(known: Index, metadata: Metadata | None, selection: Selection) -> Iterable[tuple[str, Places]]:
    for tile, places in known.items():
        if not matches(tile, selection):
            continue
        if metadata is not None and selection.needs_metadata:
            yield tile, _chosen(metadata, tile, selection)
        else:
            yield tile, places


def matches(tile: str, selection: Selection) -> bool:
    """Whether the tile's name is one of the selected names or patterns."""
    return not selection.tiles or any(fnmatchcase(tile, pattern) for pattern in selection.tiles)


def _chosen(metadata: Metadata, tile: str, selection: Selection) -> Places:
    rows = metadata.rows(tile)
    keep = np.ones(len(rows), np.bool_)
    if selection.splits:
        keep &= np.isin(rows["split"], [SPLITS.index(split) for split in selection.splits])
    if selection.countries:
        chosen = [i for i, name in enumerate(metadata.countries) if name in selection.countries]
        keep &= np.isin(rows["country"], chosen)
    if selection.snow_cloud_shadow == "exclude":
        keep &= ~(rows["snow"] | rows["cloud"])
    return np.ascontiguousarray(rows["place"][keep])


def _cut(wanted: Iterable[tuple[str, Places]], limit: int) -> dict[str, Places]:
    """The first `limit` patches (all if 0), without tiles that have none."""
    left, kept = limit, {}
    for tile, places in wanted:
        taken = places[:left] if limit else places
        if len(taken):
            kept[tile] = taken
        left -= len(taken)
        if limit and left == 0:
            break
    return kept


def _ends_with_the_archive(last: TilePlan, known: Index) -> bool:
    """Whether the last wanted tile is the archive's last, and wanted to its end."""
    return last.tile == max(known) and last.is_complete


def _nothing(selection: Selection, known: Index, metadata: Metadata | None) -> str:
    tiles = sorted(known)
    there = f"{len(tiles)} tiles ({', '.join(tiles[:3])}{', ...' if len(tiles) > 3 else ''})"
    if metadata is not None:
        there += f", countries {', '.join(sorted(metadata.countries))}, splits {', '.join(SPLITS)}"
    asked = ", ".join(f"{k} = {v}" for k, v in selection.model_dump(exclude_defaults=True).items())
    return f"expected patches that match {asked or 'everything'}, found none; the source has {there}"
