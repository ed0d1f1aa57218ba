"""A contact sheet: a few images with their masks in the official colours, for a person to look at."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from bigearthnet.classes import MaskForm, mask_classes
from bigearthnet.dataset.draft import Draft
from bigearthnet.errors import ArchiveError
from bigearthnet.names import PATCH_PIXELS
from bigearthnet.plan.recipe import KINDS
from bigearthnet.tile.png import encode_image

Sheet = npt.NDArray[np.uint8]
Pair = tuple[Sheet, Sheet]

_GAP = 8
_BACKGROUND = 255


def preview_png(draft: Draft) -> bytes:
    """Return a contact sheet of patches from all over the dataset, as a PNG."""
    palette = colours(draft.card.parameters.rendering.mask_classes)
    return contact_sheet(read_pairs(draft, palette, pick([tile["images"].patches for tile in draft.tiles])))


def read_pairs(draft: Draft, palette: Sheet, patches: Sequence[tuple[int, int]]) -> list[Pair]:
    """Return images and masks, whose values have the colours of `palette`, of patches as for `rows_of`."""
    pairs = []
    for (tile, _), *pngs in zip(patches, *(draft.pngs(kind, patches) for kind in KINDS), strict=True):
        image, mask = (
            cv2.imdecode(np.frombuffer(png, np.uint8), mode)
            for png, mode in zip(pngs, (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED), strict=True)
        )
        if image is None or mask is None:
            name = draft.tiles[tile]["images"].tile
            raise ArchiveError(f"a shard of {name} holds no PNGs. Prepare the dataset again.")
        pairs.append((image[..., ::-1].astype(np.uint8), palette[mask]))
    return pairs


def pick(counts: Sequence[int], limit: int = 9) -> list[tuple[int, int]]:
    """Choose up to `limit` patches, spread evenly over tiles with `counts` patches.

    Returns:
        Index of the tile and of the patch in it.
    """
    total = sum(counts)
    chosen = min(limit, total)
    ends = np.cumsum(counts)
    return [place(ends, (2 * i + 1) * total // (2 * chosen)) for i in range(chosen)]


def place(ends: npt.NDArray[np.int64], patch: int) -> tuple[int, int]:
    """Return the tile of a patch and its place there, from the number of patches up to each tile's end."""
    tile = int(np.searchsorted(ends, patch, side="right"))
    return tile, patch - int(ends[tile - 1] if tile else 0)


def colours(form: MaskForm) -> Sheet:
    """The colour of each value of a mask: uint8 of shape (1000, 3), black where there is no class."""
    table = np.zeros((1000, 3), np.uint8)
    for entry in mask_classes(form):
        table[entry.value] = entry.colour
    return table


def contact_sheet(pairs: Sequence[Pair | None], pairs_a_row: int = 3) -> bytes:
    """Images and masks side by side, as an RGB PNG; there is a gap in the place of None."""
    side = PATCH_PIXELS
    pair_width = 2 * side + _GAP // 2
    height = -(-len(pairs) // pairs_a_row) * (side + _GAP) + _GAP
    width = min(len(pairs), pairs_a_row) * (pair_width + _GAP) + _GAP
    sheet = np.full((height, width, 3), _BACKGROUND, np.uint8)
    for i, pair in enumerate(pairs):
        top = _GAP + i // pairs_a_row * (side + _GAP)
        left = _GAP + i % pairs_a_row * (pair_width + _GAP)
        for picture in pair or ():
            sheet[top : top + side, left : left + side] = picture
            left += side + _GAP // 2
    return encode_image(sheet)
