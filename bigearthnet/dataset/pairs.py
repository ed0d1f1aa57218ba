"""Choose patches that show each class among others."""

from collections import Counter, defaultdict
from typing import Final

import numpy as np

from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.index import class_counts
from bigearthnet.names import PATCH_PIXELS

_MUCH: Final = PATCH_PIXELS * PATCH_PIXELS // 8
"""Pixels of a class that are enough to see it; more of them do not make a patch a better choice."""


def choose_pairs(draft: Draft, limit: int) -> list[tuple[int, int]]:
    """Choose up to `limit` patches: index of the tile, and position in it, in ascending order.

    In turn, from the rarest class on, each class takes a patch that has enough of it, from the tile used
    least so far; of these, the one that has much of many classes.
    """
    values = [entry.value for entry in draft.card.mask_classes]
    best: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)  # -much, -mixed, tile, position
    pixels = np.zeros(len(values), np.int64)
    each = -(-2 * limit // max(draft.card.counts.tiles, 1))
    for tile, rows in draft.rows(["class_pixels"]):
        counts = class_counts(rows, values)
        pixels += counts.sum(axis=0)
        much = np.minimum(counts, _MUCH)
        mixed = much.sum(axis=1)
        for i in range(len(values)):
            having = np.flatnonzero(counts[:, i])
            order = np.lexsort((-mixed[having], -much[having, i]))
            for nth in having[order][:each].tolist():
                best[i].append((-int(much[nth, i]), -int(mixed[nth]), tile, nth))
    chosen, uses = set[tuple[int, int]](), Counter[int]()
    rarest_first = sorted(best, key=lambda i: (pixels[i], i))
    while len(chosen) < limit and best:
        for i in rarest_first:
            best[i] = [one for one in best[i] if one[2:] not in chosen]
            if best[i] and len(chosen) < limit:
                _, _, tile, nth = min(best[i], key=lambda one: (one[0], uses[one[2]], one))
                chosen.add((tile, nth))
                uses[tile] += 1
        rarest_first = [i for i in rarest_first if best[i]]
        best = {i: best[i] for i in rarest_first}
    return sorted(chosen)
