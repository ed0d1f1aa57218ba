"""The index of the patches, `browse.bin`, from which a browser finds any patch in the zips.

It is a zlib stream of planes: each has a byte for each patch, in the order of the manifest.

| planes | content |
| --- | --- |
| 1 | column of the patch in its tile |
| 1 | row in the tile, minus that of the patch before it, modulo 256 |
| 1 | split (0: not known, 1 to 3: `SPLITS`) + 4 × country (0: not known, 1 to 10: `COUNTRIES`) |
| 2 | size of the image's PNG in bytes: low byte, high byte |
| 2 | size of the mask's PNG |
| 1 for each 8 values of masks | bit i of plane j: the mask has the value of `mask_classes[8 * j + i]` |

Offsets follow from the sizes, because members of the zips stand side by side.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from zlib_ng import zlib_ng

from bigearthnet.dataset.draft import Draft
from bigearthnet.options import COUNTRIES, SPLITS
from bigearthnet.tile.png import deflate

PLACE_COLUMNS: Final = ("split", "country")
_COLUMNS: Final = ("column", "row", *PLACE_COLUMNS, "image_size", "mask_size", "class_pixels")


def index_bin(draft: Draft) -> bytes:
    """Return the index of a dataset; it takes 7 to 13 bytes of memory for each patch."""
    values = [entry.value for entry in draft.card.mask_classes]
    planes = np.zeros((7 + -(-len(values) // 8), draft.card.counts.patches), np.uint8)
    first = 0
    for _, rows in draft.rows(_COLUMNS):
        part = planes[:, first : first + len(rows)]
        part[0] = rows.column("column")
        part[1] = np.diff(rows.column("row").to_numpy(), prepend=np.uint8(0))
        part[2] = places(rows)
        for plane, name in ((3, "image_size"), (5, "mask_size")):
            # A PNG of 120 × 120 pixels in three channels has at most 43,500 bytes.
            sizes = rows.column(name).to_numpy().astype("<u2")
            part[plane : plane + 2] = sizes.view(np.uint8).reshape(-1, 2).T
        part[7:] = np.packbits(class_counts(rows, values) > 0, axis=1, bitorder="little").T
        first += len(rows)
    return deflate(planes, zlib_ng.Z_RLE)


def places(rows: pa.Table) -> npt.NDArray[np.uint8]:
    """Return split and country of each row as the index has them."""
    split, country = (
        pc.fill_null(pc.add(pc.index_in(rows.column(name), pa.array(names)), 1), 0).to_numpy()
        for name, names in zip(PLACE_COLUMNS, (SPLITS, COUNTRIES), strict=True)
    )
    return np.asarray(split + 4 * country, np.uint8)


def class_counts(rows: pa.Table, values: list[int]) -> npt.NDArray[Any]:
    """Return the pixels of each of the ascending `values` in each row, (rows, values)."""
    lists = rows.column("class_pixels").combine_chunks()
    found, pixels = (lists.flatten().field(name).to_numpy() for name in ("value", "pixels"))
    counts = np.zeros((len(rows), len(values)), np.int64)
    counts[pc.list_parent_indices(lists).to_numpy(), np.searchsorted(values, found)] = pixels
    return counts
