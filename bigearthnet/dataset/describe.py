"""From what was made to the dataset card."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bigearthnet.classes import mask_classes
from bigearthnet.dataset.card import (
    CITATION,
    FORMAT,
    LICENSE,
    Card,
    ClassEntry,
    Counts,
    ImageStatistics,
    Moments,
    PublishedFile,
    RejectedPatch,
    Source,
    digest_of,
    parameters,
    software,
)
from bigearthnet.dataset.manifest import ChannelSums, Statistics
from bigearthnet.errors import RejectedError
from bigearthnet.options import Rendering, Selection
from bigearthnet.tile.convert import MadeTile

_REJECTED_NAMED = 5


@dataclass(frozen=True, slots=True)
class Making:
    """What a dataset is made of and how: everything that its bytes depend on."""

    source: Source
    selection: Selection
    rendering: Rendering
    asked_for: int
    tiles: tuple[MadeTile, ...]


def require_few_rejected(making: Making, limit: int) -> None:
    """Make sure that no more patches were rejected than the person allows, and that some were not.

    Raises:
        RejectedError: more were, or all; names the first of them with their reasons.
    """
    rejected = [one for tile in making.tiles for one in tile.rejected]
    patches = sum(tile.patches for tile in making.tiles)
    if len(rejected) <= limit and patches:
        return
    first = "; ".join(f"{one.patch_id}: {one.reason}" for one in rejected[:_REJECTED_NAMED])
    remedy = (
        f"look at the source, or set max_rejected to {len(rejected)} to publish the others"
        if patches
        else "none is left to publish, look at the source"
    )
    raise RejectedError(
        f"expected at most {limit} rejected patches, found {len(rejected)} of {making.asked_for} ({first}"
        f"{'; ...' if len(rejected) > _REJECTED_NAMED else ''}); {remedy}. What was made is kept"
    )


def digest(making: Making) -> str:
    """SHA-256 (hex) of all that a dataset is made of: an equal digest means equal files."""
    return digest_of(
        making.source.model_dump(mode="json"),
        making.selection.model_dump(mode="json"),
        making.rendering.model_dump(mode="json"),
        making.asked_for,
        [asdict(tile) for tile in making.tiles],
        software(),
    )


def describe(making: Making, statistics: Statistics, files: Sequence[PublishedFile]) -> Card:
    """The card of a dataset whose files are all made."""
    rejected = tuple(
        RejectedPatch(patch_id=one.patch_id, reason=one.reason)
        for tile in making.tiles
        for one in tile.rejected
    )
    return Card(
        format=FORMAT,
        title="BigEarthNet v2 as RGB and mask PNGs",
        license=LICENSE,
        citation=CITATION,
        digest=digest(making),
        source=making.source,
        parameters=parameters(making.selection, making.rendering),
        software=software(),
        counts=Counts(
            tiles=sum(tile.patches > 0 for tile in making.tiles),
            asked_for=making.asked_for,
            patches=sum(tile.patches for tile in making.tiles),
            rejected=len(rejected),
            splits=statistics.splits,
        ),
        mask_classes=tuple(
            ClassEntry(
                value=entry.value,
                name=entry.name,
                colour=entry.colour,
                pixels=statistics.class_pixels.get(entry.value, 0),
            )
            for entry in mask_classes(making.rendering.mask_classes)
        ),
        images=ImageStatistics(all=_moments(statistics.all), train=_moments(statistics.train)),
        rejected=rejected,
        files=tuple(files),
    )


def _moments(sums: ChannelSums) -> Moments | None:
    found = sums.mean_and_deviation()
    return None if found is None else Moments.model_validate(found)
