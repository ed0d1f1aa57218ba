"""Which patches there are, and which of them are selected."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from bigearthnet.archive.bundle import Cells, Index
from bigearthnet.errors import SelectionError
from bigearthnet.names import Patch, pattern_hint
from bigearthnet.options import SPLITS, Selection
from bigearthnet.plan.metadata import Metadata


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


def patch_id(tile: str, cell: int) -> str:
    """Return the id of the patch in a cell."""
    column, row = divmod(int(cell), 100)
    return Patch(tile, column, row).patch_id


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
    listed = metadata.tiles if metadata is not None else {}
    known = {
        tile: np.union1d(index.get(tile, _NONE), listed[tile]["cell"] if tile in listed else _NONE)
        for tile in sorted(index.keys() | listed.keys())
    }
    wanted = _first(_matching(known, metadata, selection), selection.max_patches)
    if not wanted:
        raise SelectionError(_nothing_found(selection, known, metadata))
    tiles = []
    for tile, cells in wanted.items():
        whole = not selection.needs_metadata and len(cells) == len(known[tile])
        tiles.append(TilePlan(tile, cells, known[tile], whole))
    return Plan(tuple(tiles), tiles[-1].tile == max(known) and tiles[-1].is_complete)


_NONE: Cells = np.empty(0, np.uint16)


def _matching(known: Index, metadata: Metadata | None, selection: Selection) -> Iterable[tuple[str, Cells]]:
    for tile, cells in known.items():
        if selection.tiles and not any(fnmatchcase(tile, pattern) for pattern in selection.tiles):
            continue
        used = metadata if selection.needs_metadata else None
        yield tile, cells if used is None else _chosen(used, tile, selection)


def _chosen(metadata: Metadata, tile: str, selection: Selection) -> Cells:
    rows = metadata.rows(tile)
    chosen = np.ones(len(rows), np.bool_)
    if selection.splits:
        chosen &= np.isin(rows["split"], [SPLITS.index(split) for split in selection.splits])
    if selection.countries:
        countries = [i for i, name in enumerate(metadata.countries) if name in selection.countries]
        chosen &= np.isin(rows["country"], countries)
    if selection.snow_cloud_shadow == "exclude":
        chosen &= ~(rows["snow"] | rows["cloud"])
    return np.ascontiguousarray(rows["cell"][chosen])


def _first(wanted: Iterable[tuple[str, Cells]], limit: int) -> dict[str, Cells]:
    """Take the first `limit` patches (0 = all); tiles without any are left out."""
    left, taken = limit, {}
    for tile, cells in wanted:
        chosen = cells[:left] if limit else cells
        if len(chosen):
            taken[tile] = chosen
        left -= len(chosen)
        if limit and left == 0:
            break
    return taken


def _nothing_found(selection: Selection, known: Index, metadata: Metadata | None) -> str:
    tiles = sorted(known)
    there = f"{len(tiles)} tiles ({', '.join(tiles[:3])}{', ...' if len(tiles) > 3 else ''})"
    if metadata is not None:
        there += f", the countries {', '.join(sorted(metadata.countries))} and the splits {', '.join(SPLITS)}"
    asked = ", ".join(f"{k} = {v}" for k, v in selection.model_dump(exclude_defaults=True).items())
    hints = [hint for pattern in selection.tiles if (hint := pattern_hint(pattern, tiles))]
    return " ".join([f"no patch matches {asked or 'an empty selection'}. The source has {there}.", *hints])
