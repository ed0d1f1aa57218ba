"""Copy chosen patches of a published dataset to shards of a subset."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bigearthnet.classes import DETAILED_FORMS, MaskForm
from bigearthnet.dataset.copies import damaged
from bigearthnet.dataset.jobs import Job
from bigearthnet.dataset.layout import ZIPS
from bigearthnet.dataset.published import Published, tile_rows
from bigearthnet.errors import SelectionError
from bigearthnet.options import Packaging, Rendering, SubsetMasks, SubsetSelection
from bigearthnet.plan.recipe import KINDS, Kind, Recipe, SubsetStep
from bigearthnet.store import Store
from bigearthnet.tile.convert import ConvertedTile, rows_file, shard_file
from bigearthnet.tile.render import derive_mask
from bigearthnet.tile.rows import SCHEMAS, SUFFIXES, column, write_rows
from bigearthnet.zips.shard import ShardWriter

BRIDGED_BYTES: Final = 1 << 20
"""Bytes between two patches that are read, too: a second request of a bucket takes longer."""
_BUFFER_BYTES: Final = 256 << 10

_Member = tuple[Mapping[str, Any], bytes]
"""A row with the columns of `SCHEMAS`, and its PNG."""


@dataclass(frozen=True, slots=True)
class Original:
    """The published dataset that a subset is made from."""

    store: Store
    published: Published
    manifest: Path  # on this machine

    def rows(self, job: Job) -> pa.Table:
        """Return the manifest's rows of a job's patches."""
        rows = tile_rows(self.manifest, self.published.card, job.plan.tile)
        return rows.filter(pa.array(np.isin(rows.column("patch_id").to_pylist(), job.plan.patch_ids)))

    def pngs(self, kind: Kind, rows: pa.Table) -> Iterator[bytes]:
        """Read the images or masks of rows, which ascend; patches that stand together in one request.

        Raises:
            ChecksumError: one is not the one that the manifest lists.
        """
        ids, (offsets, sizes, crc32s) = rows.column("patch_id").to_pylist(), _places(kind, rows)
        gaps = offsets[1:] - (offsets + sizes)[:-1]
        for run in np.split(np.arange(len(ids)), np.flatnonzero(gaps > BRIDGED_BYTES) + 1):
            first, last = run[0], run[-1]
            start, stop = int(offsets[first]), int(offsets[last] + sizes[last])
            opened = self.store.open(self.published.intact[ZIPS[kind]], start, stop)
            with BufferedReader(opened, _BUFFER_BYTES) as reader:
                for i in run:
                    reader.read(int(gaps[i - 1]) if i > first else 0)
                    png = reader.read(int(sizes[i]))
                    if zlib.crc32(png) != crc32s[i]:
                        raise damaged(f"{ids[i]}{SUFFIXES[kind]}", self.store)
                    yield png


def subset_recipe(
    published: Published, selection: SubsetSelection, masks: SubsetMasks, packaging: Packaging
) -> Recipe:
    """Return what a subset of a dataset is made of.

    Raises:
        SelectionError: the dataset's masks do not tell the classes of those that are asked for.
    """
    card = published.card
    before = card.parameters.rendering
    form = before.mask_classes if masks == "unchanged" else masks
    if form != before.mask_classes and before.mask_classes not in DETAILED_FORMS:
        raise SelectionError(
            f"cannot make {form} masks from {before.mask_classes} masks, which do not tell all CORINE "
            f"classes. Prepare the dataset again with mask_classes {form}, which costs 0.3 GB to download."
        )
    copied = KINDS if form == before.mask_classes else ("images",)
    step = SubsetStep(card_sha256=hashlib.sha256(published.data).hexdigest(), selection=selection)
    return Recipe(
        card.source,
        card.parameters.selection,
        before.model_copy(update={"mask_classes": form}),
        packaging,
        (*card.subset, step),
        {kind: card.parameters.digests[kind] for kind in copied},
    )


def copy_members(job: Job, original: Original, rendering: Rendering, folder: Path) -> ConvertedTile:
    """Write the missing shards of a tile and their rows into `folder`.

    PNGs are copied as they are; only masks of another form than the original's are made anew.

    Raises:
        ChecksumError: a member is not the one that the manifest lists.
        StoreError: the folder cannot be written.
        SpaceError: the disk is full.
    """
    rows, form = original.rows(job), original.published.card.parameters.rendering.mask_classes
    for kind in job.missing:
        plain = rows.select(SCHEMAS[kind].names).to_pylist()
        pairs: Iterator[_Member] = zip(plain, original.pngs(kind, rows), strict=True)
        if kind == "masks" and form != rendering.mask_classes:
            pairs = (_derived(row, png, form, rendering) for row, png in pairs)
        made = list[Mapping[str, Any]]()
        with ShardWriter(folder / shard_file(kind)) as writer:
            for row, png in pairs:
                crc32 = writer.add(f"{row['patch_id']}{SUFFIXES[kind]}", png)
                made.append({**row, column(kind, "crc32"): crc32})
        write_rows(made, kind, folder / rows_file(kind))
    return ConvertedTile(job.plan.tile, len(rows), ())


def _derived(row: Mapping[str, Any], mask: bytes, form: MaskForm, rendering: Rendering) -> _Member:
    """Return row and PNG of a mask in another form."""
    png, counts = derive_mask(mask, form, rendering, row["patch_id"])
    pixels = [{"value": value, "pixels": count} for value, count in counts.items()]
    return {**row, "mask_size": len(png), "class_pixels": pixels}, png


def _places(kind: Kind, rows: pa.Table) -> tuple[Any, Any, Any]:
    """Return offset, size and CRC-32 of each row's PNG."""
    names = (column(kind, what) for what in ("offset", "size", "crc32"))
    offsets, sizes, crc32s = (np.asarray(rows.column(name), np.int64) for name in names)
    return offsets, sizes, crc32s
