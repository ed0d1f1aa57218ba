"""Choose patches of a published dataset by its manifest."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bigearthnet.archive.bundle import Cells
from bigearthnet.dataset.card import Card
from bigearthnet.dataset.copies import matching
from bigearthnet.errors import SelectionError
from bigearthnet.options import SubsetSelection
from bigearthnet.plan.metadata import METADATA_SCHEMA, S1_NAME, Metadata, Rows, patch_id, rows_by_tile
from bigearthnet.plan.selection import Plan, TilePlan

_FACTS: Final = [*METADATA_SCHEMA.names, S1_NAME]
_COLUMNS: Final = [*_FACTS, "column", "row", "month", "unlabelled"]
_LAST: Final = 1e18  # pixels that no class has


@dataclass(frozen=True, slots=True, eq=False)
class ClassPixels:
    """Pixels of classes in patches: an entry for each class of each patch, the patches ascending."""

    patch: npt.NDArray[np.int32]
    value: npt.NDArray[np.uint16]
    pixels: npt.NDArray[np.uint16]


def choose_patches(manifest: pq.ParquetFile, card: Card, selection: SubsetSelection) -> tuple[Plan, Metadata]:
    """Choose patches, reading the manifest a tile at a time; the same ones on any machine.

    Returns:
        The tiles with their chosen patches, and what the record's metadata says of these.

    Raises:
        SelectionError: no patch matches, or a tile's pattern matches none.
    """
    named = [entry.tile for entry in card.tiles if entry.patches]
    wanted = set(matching(named, selection.tiles, "tiles") if selection.tiles else named)
    balances = bool(selection.max_patches) and selection.choose == "balanced"
    found: dict[str, Cells] = {}
    facts: dict[str, Rows] = {}
    classes = list[ClassPixels]()
    for i, tile in enumerate(named):
        if tile in wanted:
            columns = [*_COLUMNS, "class_pixels"] if balances else _COLUMNS
            rows = manifest.read_row_group(i, columns, use_threads=False)
            rows = rows.filter(pa.array(matches(rows, selection)))
            found[tile] = np.asarray(rows.column("column"), np.uint16) * 100 + np.asarray(rows.column("row"))
            facts |= _facts(rows)
            if balances:
                classes.append(_class_pixels(rows))
    total = sum(map(len, found.values()))
    if not total:
        raise SelectionError(_nothing_found(card, selection))
    chosen = np.ones(total, np.bool_)
    if 0 < selection.max_patches < total:
        chosen[:] = False
        chosen[_limited(found, selection, classes, card.ignore_index)] = True
    plan, facts_of_chosen = [], {}
    for tile, cells in found.items():
        kept, chosen = cells[chosen[: len(cells)]], chosen[len(cells) :]
        if len(kept):
            plan.append(TilePlan(tile, kept, kept, whole=False))
            if tile in facts:
                listed = facts.pop(tile)
                facts_of_chosen[tile] = listed[np.isin(listed["cell"], kept)]
    return Plan(tuple(plan), reads_to_the_end=False), facts_of_chosen


def matches(rows: pa.Table, selection: SubsetSelection) -> npt.NDArray[np.bool_]:
    """Return which rows of a manifest match all that a selection says but tiles and number of patches.

    A row without metadata does not match what needs it.
    """
    found = np.asarray(rows.column("unlabelled")) <= np.float32(selection.max_unlabelled)
    among = {"split": selection.splits, "country": selection.countries, "month": selection.months}
    for name, values in among.items():
        if values:
            column = rows.column(name)
            found &= np.asarray(pc.is_in(column, value_set=pa.array(values, column.type)))
    if selection.snow_cloud_shadow == "exclude":
        for name in ("contains_seasonal_snow", "contains_cloud_or_shadow"):
            found &= np.asarray(pc.fill_null(pc.invert(rows.column(name)), fill_value=False))
    if selection.with_labels:
        found &= _has_any(rows, selection.with_labels)
    if selection.without_labels:
        found &= ~_has_any(rows, selection.without_labels) & np.asarray(rows.column("labels").is_valid())
    return found


def balance(classes: ClassPixels, ranks: npt.NDArray[np.uint64], count: int, ignored: int) -> Iterator[int]:
    """Yield `count` patches: each the next one by its rank that has the class with the fewest pixels.

    Pixels are those of the patches before. The value `ignored` comes when all with other classes are taken.
    """
    values = np.flatnonzero(np.bincount(classes.value))
    value = np.searchsorted(values, classes.value).astype(np.uint8)
    totals = np.where(values == ignored, _LAST, 0.0)
    present = np.zeros(len(ranks), np.uint64)  # bit i for values[i]
    np.bitwise_or.at(present, classes.patch, np.uint64(1) << value)
    order = np.argsort(ranks, kind="stable").astype(np.int32)
    queues = [iter(order[(present[order] >> np.uint64(i)) & np.uint64(1) == 1]) for i in range(len(values))]
    begins = np.searchsorted(classes.patch, np.arange(len(ranks) + 1, dtype=np.int32))
    taken = np.zeros(len(ranks), np.bool_)
    while count and np.isfinite(totals).any():
        rarest = int(np.argmin(totals))
        patch = next((patch for patch in queues[rarest] if not taken[patch]), None)
        if patch is None:
            totals[rarest] = np.inf
            continue
        taken[patch] = True
        entries = slice(begins[patch], begins[patch + 1])
        totals[value[entries]] += classes.pixels[entries]
        count -= 1
        yield int(patch)


def _limited(
    found: Mapping[str, Cells], selection: SubsetSelection, classes: Sequence[ClassPixels], ignored: int
) -> npt.NDArray[np.int64]:
    """Return the indices of `max_patches` of the patches, whose `classes` are given a tile at a time."""
    count = selection.max_patches
    if selection.choose == "first":
        return np.arange(count)
    # Digests, as numpy's generators may give other numbers in another version. With a larger count, the
    # smaller choice is a part of the larger one.
    ids = (patch_id(tile, cell) for tile, cells in found.items() for cell in cells)
    digests = (hashlib.sha256(f"{selection.seed} {one}".encode()).digest() for one in ids)
    ranks = np.fromiter((int.from_bytes(digest[:8], "big") for digest in digests), np.uint64)
    if selection.choose == "random":
        return np.argsort(ranks, kind="stable")[:count]
    joined = _joined(classes, map(len, found.values()))
    return np.fromiter(balance(joined, ranks, count, ignored), np.int64)


def _class_pixels(rows: pa.Table) -> ClassPixels:
    lists = rows.column("class_pixels").combine_chunks()
    value, pixels = (np.asarray(lists.flatten().field(name), np.uint16) for name in ("value", "pixels"))
    return ClassPixels(np.asarray(pc.list_parent_indices(lists), np.int32), value.copy(), pixels)


def _joined(tiles: Sequence[ClassPixels], sizes: Iterable[int]) -> ClassPixels:
    """Return the class pixels of the patches of all tiles, of which each has as many as `sizes` says."""
    starts = np.cumsum([0, *sizes], dtype=np.int32)
    return ClassPixels(
        np.concatenate([one.patch + start for one, start in zip(tiles, starts, strict=False)]),
        np.concatenate([one.value for one in tiles]),
        np.concatenate([one.pixels for one in tiles]),
    )


def _facts(rows: pa.Table) -> Mapping[str, Rows]:
    """Return the metadata of the rows of a tile, by the tile's name; rows without it are left out."""
    listed = rows.select(_FACTS).filter(rows.column("split").is_valid())
    batches = listed.combine_chunks().to_batches()
    return {tile: found for batch in batches for tile, found in rows_by_tile(batch, "the manifest")}


def _has_any(rows: pa.Table, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which rows have any of the labels."""
    lists = rows.column("labels").combine_chunks()
    is_wanted = np.asarray(pc.is_in(pc.list_flatten(lists), value_set=pa.array(labels)))
    has = np.zeros(len(rows), np.bool_)
    has[np.asarray(pc.list_parent_indices(lists))[is_wanted]] = True
    return has


def _nothing_found(card: Card, selection: SubsetSelection) -> str:
    said = f"no patch matches {selection.asked_for}. "
    if selection.needs_metadata and not card.counts.splits:
        return said + (
            "The dataset was prepared without the record's metadata: select by tiles, months and unlabelled "
            "pixels only."
        )
    return said + f"The dataset has {card.counts.patches:,} patches; ask for less."
