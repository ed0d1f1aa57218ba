"""Sums over the rows of a manifest: what the card says of images and classes."""

from collections import Counter, defaultdict
from math import sqrt
from statistics import median
from typing import Final, TypeVar

import pyarrow as pa

from bigearthnet.dataset.card import ClassWeights, Moments
from bigearthnet.dataset.layout import MANIFEST
from bigearthnet.errors import ChecksumError
from bigearthnet.names import PATCH_PIXELS
from bigearthnet.options import SPLITS, SplitName
from bigearthnet.tile.rows import SQUARE_COLUMNS, SUM_COLUMNS

_PIXELS: Final = PATCH_PIXELS * PATCH_PIXELS
_CHANNEL_COLUMNS: Final = (*SUM_COLUMNS, *SQUARE_COLUMNS)


_Key = TypeVar("_Key", str, int)


class Statistics:
    """Sums over the rows of a manifest, by split; the split is None where it is not known."""

    def __init__(self) -> None:
        # Number of patches, and sums of the channels' columns.
        self.sums: dict[str | None, Counter[str]] = defaultdict(Counter)
        # Of each value of the masks, the number of pixels, and of patches that have some.
        self.class_pixels: dict[str | None, Counter[int]] = defaultdict(Counter)
        self.class_patches: dict[str | None, Counter[int]] = defaultdict(Counter)

    def add(self, rows: pa.Table) -> None:
        """Add the rows of a tile."""
        wanted = [("patch_id", "count"), *((name, "sum") for name in _CHANNEL_COLUMNS)]
        groups = rows.group_by("split", use_threads=False).aggregate(wanted)
        for sums in groups.rename_columns(["split", "patches", *_CHANNEL_COLUMNS]).to_pylist():
            self.sums[sums.pop("split")].update(sums)
        lists = rows.column("class_pixels").combine_chunks()
        entries = lists.flatten()
        values, pixels = (entries.field(name) for name in ("value", "pixels"))
        splits = rows.column("split").combine_chunks().take(lists.value_parent_indices())
        classes = pa.table({"split": splits, "value": values, "pixels": pixels})
        groups = classes.group_by(["split", "value"], use_threads=False)
        for row in groups.aggregate([("pixels", "sum"), ("pixels", "count")]).to_pylist():
            self.class_pixels[row["split"]][row["value"]] += row["pixels_sum"]
            self.class_patches[row["split"]][row["value"]] += row["pixels_count"]

    def splits(self) -> dict[SplitName, int]:
        """Return the number of patches of each split that has some."""
        return {split: self.sums[split]["patches"] for split in SPLITS if split in self.sums}

    def moments(self, split: SplitName | None = None) -> Moments | None:
        """Return mean and population standard deviation of each channel, of a split or of all patches.

        Returns:
            None without patches.

        Raises:
            ChecksumError: no pixels have such sums; the rows are damaged, or of others.
        """
        sums = _of(self.sums, split)
        if not sums:
            return None
        pixels = sums["patches"] * _PIXELS
        means, deviations = [], []
        for total, squares in zip(SUM_COLUMNS, SQUARE_COLUMNS, strict=True):
            # In integers until the root: the difference of two large floats would lose digits.
            spread = pixels * sums[squares] - sums[total] ** 2
            if spread < 0:
                raise ChecksumError(
                    f"the columns {total} and {squares} of {MANIFEST} contradict each other. "
                    "Delete the dataset and prepare it again."
                )
            means.append(sums[total] / pixels)
            deviations.append(sqrt(spread) / pixels)
        return Moments.model_validate({"mean": means, "std": deviations})

    def pixels(self, value: int, split: SplitName | None = None) -> int:
        """Return the number of pixels of a value of the masks, in a split or in all patches."""
        return _of(self.class_pixels, split)[value]

    def weights(self, ignored: int) -> dict[int, ClassWeights]:
        """Return weights of the classes for a loss, from the train split, or from all patches without it.

        inverse: labelled pixels / (classes × pixels of the class). median_frequency: median of the classes'
        frequencies / frequency of the class, where a frequency is the share of a class in the patches that
        have it (Eigen and Fergus 2015). Only classes with pixels count, and not `ignored`.
        """
        split: SplitName | None = "train" if "train" in self.sums else None
        patches = _of(self.class_patches, split)
        pixels = {v: n for v, n in sorted(_of(self.class_pixels, split).items()) if v != ignored}
        frequencies = {value: count / (patches[value] * _PIXELS) for value, count in pixels.items()}
        middle, labelled = median(frequencies.values() or [0]), sum(pixels.values())
        return {
            value: ClassWeights(
                inverse=labelled / (len(pixels) * count), median_frequency=middle / frequencies[value]
            )
            for value, count in pixels.items()
        }


def _of(sums: dict[str | None, Counter[_Key]], split: SplitName | None) -> Counter[_Key]:
    """Return the sums of a split, or of all patches."""
    return sums.get(split, Counter()) if split else sum(sums.values(), Counter())
