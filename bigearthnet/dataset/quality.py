"""Find patches that a person should look at before training, by the columns of the manifest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bigearthnet.classes import MaskForm, label_bits
from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.preview import Pair, colours, contact_sheet, place, read_pairs
from bigearthnet.names import PATCH_PIXELS
from bigearthnet.options import LABELS, Frozen
from bigearthnet.tile.rows import SQUARE_COLUMNS, SUM_COLUMNS

Values = npt.NDArray[np.float32]
CheckName = Literal["constant", "black", "saturated", "unlabelled", "labels", "duplicates"]

WORST: Final = 10
"""Number of patches that are named and shown for each check."""
_PIXELS: Final = PATCH_PIXELS**2
_COLUMNS: Final = (
    *(*SUM_COLUMNS, *SQUARE_COLUMNS, "black", "saturated", "unlabelled"),
    *("labels_agree", "labels", "class_pixels"),
)
_KEY_COLUMNS: Final = ("image_crc32", "image_size")


@dataclass(frozen=True, slots=True)
class Check:
    """A measure of patches, and the values that are bad: `limit` and higher ones, or lower ones."""

    measure: str
    limit: float
    low_is_bad: bool = False

    def is_bad(self, values: Values) -> npt.NDArray[np.bool_]:
        """Return which values are bad; NaN is not."""
        return values <= self.limit if self.low_is_bad else values >= self.limit

    def worst(self, values: Values) -> list[int]:
        """Return the indices of the worst values, also within the limit; if high ones are bad, not of 0."""
        order = np.argsort(values if self.low_is_bad else -values, kind="stable")[:WORST]
        return [i for i in order.tolist() if values[i] > 0 or (self.low_is_bad and values[i] == 0)]


CHECKS: Final[dict[CheckName, Check]] = {
    "constant": Check("standard deviation of the channel that varies most, 0 to 255", 0, low_is_bad=True),
    "black": Check("share of the pixels that are 0 in all channels", 0.5),
    "saturated": Check("share of the pixels that are 255 in a channel", 0.5),
    "unlabelled": Check("share of the pixels without a class", 0.5),
    "labels": Check("number of classes that only the mask has, or only the record's labels", 1),
    "duplicates": Check("number of patches whose images have the same CRC-32 and size", 2),
}
"""In the order of the rows of the contact sheet."""


class WorstPatch(Frozen):
    """A patch and its value; of duplicates the first, and the next one, which has the same bytes."""

    patch_id: str
    value: float
    same_as: str | None


class CheckResult(Frozen):
    """What a check found: the number of patches that could be checked, and of those that are bad."""

    name: CheckName
    measure: str
    limit: float
    low_is_bad: bool
    checked: int
    bad: int
    worst: tuple[WorstPatch, ...]


class Quality(Frozen):
    """What all checks found."""

    patches: int
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """What a check found; patches are given by their tile's index and their place in the tile."""

    checked: int
    bad: int
    worst: list[tuple[int, int]]
    values: list[float]  # of the worst
    same_as: list[tuple[int, int]]  # of duplicates, a patch for each of the worst


def quality_json(draft: Draft) -> bytes:
    """Return what all checks found, with the worst patches of each."""

    def ids(patches: Sequence[tuple[int, int]]) -> list[str]:
        return [row["patch_id"] for row in draft.rows_of(patches, ["patch_id"])]

    checks = []
    for name, found in _check(draft).items():
        same_as: Sequence[str | None] = ids(found.same_as) or [None] * len(found.worst)
        worst = (
            WorstPatch(patch_id=patch_id, value=value, same_as=other)
            for patch_id, value, other in zip(ids(found.worst), found.values, same_as, strict=True)
        )
        numbers = {"checked": found.checked, "bad": found.bad, "worst": tuple(worst)}
        checks.append(CheckResult.model_validate({"name": name, **asdict(CHECKS[name]), **numbers}))
    quality = Quality(patches=draft.card.counts.patches, checks=tuple(checks))
    return quality.model_dump_json(indent=1).encode() + b"\n"


def quality_png(draft: Draft) -> bytes:
    """Return a contact sheet of the worst patches: a row a check as in `CHECKS`, the worst first."""
    palette = colours(draft.card.parameters.rendering.mask_classes)
    pairs: list[Pair | None] = []
    for found in _check(draft).values():
        pairs += read_pairs(draft, palette, found.worst)
        pairs += [None] * (WORST - len(found.worst))
    return contact_sheet(pairs, WORST)


@lru_cache(maxsize=1)  # both documents need it
def _check(draft: Draft) -> Mapping[CheckName, _Found]:
    form = draft.card.parameters.rendering.mask_classes
    measured = [_measure(rows, form) for _, rows in draft.rows(_COLUMNS)]
    found = {}
    for name, check in CHECKS.items():  # one after the other, so that little memory is needed
        if name == "duplicates":
            values, same_as = _duplicates(draft)
            worst = [*same_as]
        else:
            values, same_as = np.concatenate([one.pop(name) for one in measured]), {}
            worst = check.worst(values)
        found[name] = _Found(
            checked=int((~np.isnan(values)).sum()),
            bad=int(check.is_bad(values).sum()),
            worst=_places(draft, worst),
            values=[round(float(values[i]), 6) for i in worst],
            same_as=_places(draft, same_as.values()),
        )
    return found


def _measure(rows: pa.Table, form: MaskForm) -> dict[CheckName, Values]:
    """Return the values of all checks but duplicates."""
    sums, squares = (
        np.stack([rows.column(name).to_numpy().astype(np.uint64) for name in names])
        for names in (SUM_COLUMNS, SQUARE_COLUMNS)
    )
    values: dict[CheckName, npt.NDArray[np.generic]] = {
        # In integers until the root, so that one colour gives 0.
        "constant": np.sqrt((_PIXELS * squares - sums**2).max(axis=0)) / _PIXELS,
        "black": rows.column("black").to_numpy(),
        "saturated": rows.column("saturated").to_numpy(),
        "unlabelled": rows.column("unlabelled").to_numpy(),
        "labels": _differing_classes(rows, form),
    }
    return {name: found.astype(np.float32) for name, found in values.items()}


def _differing_classes(rows: pa.Table, form: MaskForm) -> npt.NDArray[np.float64]:
    agree = rows.column("labels_agree").to_numpy(zero_copy_only=False).astype(np.float64)  # null is NaN
    differing, bits = np.where(np.isnan(agree), np.nan, 0.0), label_bits(form)
    (places,) = np.nonzero(agree == 0)
    if bits is None or not places.size:
        return differing
    rows = rows.take(places)
    of_masks = rows.column("class_pixels").combine_chunks()
    of_record = rows.column("labels").combine_chunks()
    sets = np.zeros((2, len(rows)), np.uint32)
    classes = bits[of_masks.flatten().field("value").to_numpy()]
    np.bitwise_or.at(sets[0], pc.list_parent_indices(of_masks).to_numpy(), classes)
    labels = pc.index_in(of_record.flatten(), pa.array(LABELS)).to_numpy().astype(np.uint32)
    np.bitwise_or.at(sets[1], pc.list_parent_indices(of_record).to_numpy(), np.uint32(1) << labels)
    differing[places] = np.bitwise_count(sets[0] ^ sets[1])
    return differing


def _duplicates(draft: Draft) -> tuple[Values, dict[int, int]]:
    """Find patches whose images have the same CRC-32 and size.

    Returns:
        The number of such patches for each patch; of the largest groups whose first two patches have the
        same bytes, these two.
    """
    columns = (
        [rows.column(name).to_numpy().astype(np.uint64) for name in _KEY_COLUMNS]
        for _, rows in draft.rows(_KEY_COLUMNS)
    )
    keys = np.concatenate([crc32s << 32 | sizes for crc32s, sizes in columns])
    order = np.argsort(keys, kind="stable")  # patches with the same key follow one another, in their order
    keys = keys[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    counts = np.diff(starts, append=len(keys))
    values = np.empty(len(keys), np.float32)
    values[order] = np.repeat(counts.astype(np.float32), counts)
    groups = np.flatnonzero(counts > 1)
    groups = groups[np.lexsort((order[starts[groups]], -counts[groups]))[:WORST]]
    pairs = [order[start : start + 2].tolist() for start in starts[groups]]
    same = {
        one: other for one, other in pairs if len({*draft.pngs("images", _places(draft, (one, other)))}) == 1
    }
    return values, same


def _places(draft: Draft, patches: Iterable[int]) -> list[tuple[int, int]]:
    ends = np.cumsum([entry.patches for entry in draft.card.tiles])
    return [place(ends, patch) for patch in patches]
