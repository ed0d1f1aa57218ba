"""A contact sheet: a few images with their masks in the official colours, for a person to look at."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from bigearthnet.classes import MaskForm, mask_classes
from bigearthnet.dataset.tiles import FinishedTile, Shard, TileCache
from bigearthnet.errors import ArchiveError
from bigearthnet.names import PATCH_PIXELS
from bigearthnet.tile.png import encode_image
from bigearthnet.tile.rows import members
from bigearthnet.zips.join import data_offsets

Sheet = npt.NDArray[np.uint8]

_GAP = 8
_PAIRS_A_ROW = 3
_BACKGROUND = 255


def preview_png(tiles: Sequence[FinishedTile], cache: TileCache, form: MaskForm) -> bytes:
    """Return a contact sheet of patches from all over the dataset, as a PNG."""
    palette = colours(form)
    pairs = []
    for i, nth in pick([tile["images"].patches for tile in tiles]):
        shards = tiles[i]
        image = cv2.imdecode(_png(shards["images"], nth, cache), cv2.IMREAD_COLOR)
        mask = cv2.imdecode(_png(shards["masks"], nth, cache), cv2.IMREAD_UNCHANGED)
        if image is None or mask is None:
            raise ArchiveError(
                f"a shard of {shards['images'].tile} holds no PNGs. Prepare the dataset again."
            )
        pairs.append((image[..., ::-1].astype(np.uint8), palette[mask]))
    return contact_sheet(pairs)


def pick(counts: Sequence[int], limit: int = 9) -> list[tuple[int, int]]:
    """Choose up to `limit` patches, spread evenly over tiles with `counts` patches.

    Returns:
        Index of the tile and of the patch in it.
    """
    total = sum(counts)
    chosen = min(limit, total)
    ends = np.cumsum(counts)
    picked = []
    for i in range(chosen):
        nth = (2 * i + 1) * total // (2 * chosen)
        tile = int(np.searchsorted(ends, nth, side="right"))
        picked.append((tile, nth - int(ends[tile] - counts[tile])))
    return picked


def colours(form: MaskForm) -> Sheet:
    """The colour of each value of a mask: uint8 of shape (1000, 3), black where there is no class."""
    table = np.zeros((1000, 3), np.uint8)
    for entry in mask_classes(form):
        table[entry.value] = entry.colour
    return table


def contact_sheet(pairs: Sequence[tuple[Sheet, Sheet]]) -> bytes:
    """Images and masks side by side, three pairs a row, as an RGB PNG."""
    side = PATCH_PIXELS
    pair_width = 2 * side + _GAP // 2
    height = -(-len(pairs) // _PAIRS_A_ROW) * (side + _GAP) + _GAP
    width = min(len(pairs), _PAIRS_A_ROW) * (pair_width + _GAP) + _GAP
    sheet = np.full((height, width, 3), _BACKGROUND, np.uint8)
    for i, pair in enumerate(pairs):
        top = _GAP + i // _PAIRS_A_ROW * (side + _GAP)
        left = _GAP + i % _PAIRS_A_ROW * (pair_width + _GAP)
        for picture in pair:
            sheet[top : top + side, left : left + side] = picture
            left += side + _GAP // 2
    return encode_image(sheet)


def _png(shard: Shard, nth: int, cache: TileCache) -> Sheet:
    listed = members(cache.rows(shard), shard.kind)
    sizes = [size for _, size, _ in listed]
    start = int(data_offsets([len(name) for name, _, _ in listed], sizes, shard.source.start)[nth])
    with cache.store.open(shard.source.file, start, start + sizes[nth]) as reader:
        return np.frombuffer(reader.read(), np.uint8)
