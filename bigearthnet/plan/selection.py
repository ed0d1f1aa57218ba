"""Which patches there are, and which of them are selected."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from bigearthnet.archive.bundle import Cells, Index
from bigearthnet.errors import SelectionError
from bigearthnet.names import pattern_hint
from bigearthnet.options import COUNTRIES, SPLITS, Selection
from bigearthnet.plan.metadata import NO_ROWS, Metadata, Rows, patch_id
from bigearthnet.progress import counted, some


@dataclass(frozen=True, slots=True, eq=False)
class TilePlan:
    """What to make of a tile: the selected `cells` of those that the reference maps or the metadata list.

    If it is `whole`, it is selected by its name alone, so that patches that nothing lists count, too.
    """

    tile: str
    cells: Cells
    known: Cells
    whole: bool

    @property
    def is_complete(self) -> bool:
        """Whether all known cells are selected, so that the tile is read to its end."""
        return len(self.cells) == len(self.known)

    @property
    def patch_ids(self) -> list[str]:
        """Ids of the selected patches, ascending."""
        return [patch_id(self.tile, cell) for cell in self.cells]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The tiles to make, in the order of the archives, and whether these are read to their ends."""

    tiles: tuple[TilePlan, ...]
    reads_to_the_end: bool

    @property
    def patches(self) -> int:
        """Number of selected patches."""
        return sum(len(tile.cells) for tile in self.tiles)


def plan_tiles(index: Index, metadata: Metadata | None, selection: Selection) -> Plan:
    """Decide which of the patches that the reference maps' archive or the metadata lists to make.

    Raises:
        SelectionError: nothing matches, or the selection needs metadata that is not there.
    """
    if selection.needs_metadata and metadata is None:
        raise SelectionError(
            "cannot select by split, country, snow or cloud: the source has no metadata files. "
            "Put metadata.parquet beside the archives, or select by tiles and max_patches only."
        )
    listed = metadata or {}
    known = {
        tile: np.union1d(index.get(tile, _NONE), listed.get(tile, NO_ROWS)["cell"])
        for tile in sorted(index.keys() | listed.keys())
    }
    selected = _select(known, listed, selection)
    if not selected:
        raise SelectionError(_nothing_found(selection, known, listed))
    tiles = []
    for tile, cells in selected.items():
        whole = not selection.needs_metadata and len(cells) == len(known[tile])
        tiles.append(TilePlan(tile, cells, known[tile], whole))
    return Plan(tuple(tiles), tiles[-1].tile == max(known) and tiles[-1].is_complete)


_NONE: Cells = np.empty(0, np.uint16)


def _select(known: Index, metadata: Metadata, selection: Selection) -> Index:
    """Select cells; tiles without any are left out."""
    selected = {}
    left = selection.max_patches or sum(len(cells) for cells in known.values())
    for tile, cells in known.items():
        if selection.tiles and not any(fnmatchcase(tile, pattern) for pattern in selection.tiles):
            continue
        rows = metadata.get(tile, NO_ROWS)
        first = (_matching(rows, selection) if selection.needs_metadata else cells)[:left]
        if len(first):
            selected[tile] = first
        left -= len(first)
    return selected


def _matching(rows: Rows, selection: Selection) -> Cells:
    """Return the cells of the rows that match splits, countries, snow, clouds and shadow."""
    matches = np.ones(len(rows), np.bool_)
    if selection.splits:
        matches &= np.isin(rows["split"], [SPLITS.index(split) for split in selection.splits])
    if selection.countries:
        matches &= np.isin(rows["country"], [COUNTRIES.index(country) for country in selection.countries])
    if selection.snow_cloud_shadow == "exclude":
        matches &= ~(rows["snow"] | rows["cloud"])
    return np.ascontiguousarray(rows["cell"][matches])


def _nothing_found(selection: Selection, known: Index, metadata: Metadata) -> str:
    tiles = sorted(known)
    there = f"{counted(len(tiles), 'tile')} ({some(tiles)})"
    if metadata:
        countries = sorted({COUNTRIES[i] for rows in metadata.values() for i in np.unique(rows["country"])})
        there += f", the countries {', '.join(countries)} and the splits {', '.join(SPLITS)}"
    hints = [hint for pattern in selection.tiles if (hint := pattern_hint(pattern, tiles))]
    return " ".join([f"no patch matches {selection.asked_for}. The source has {there}.", *hints])
