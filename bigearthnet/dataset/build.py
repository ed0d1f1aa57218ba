"""From finished tiles to the dataset card."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Final

from bigearthnet import __version__
from bigearthnet.classes import clc_codes, ignore_index, mask_classes
from bigearthnet.dataset import card
from bigearthnet.dataset.layout import BESIDE
from bigearthnet.dataset.statistics import Statistics
from bigearthnet.dataset.tiles import FinishedTile
from bigearthnet.errors import RejectedError
from bigearthnet.options import SplitName
from bigearthnet.plan.recipe import KINDS, Recipe
from bigearthnet.tile.convert import Rejected

LICENSE: Final = "CDLA-Permissive-1.0"
CITATION: Final = (
    "K. Clasen, L. Hackel, T. Burgert, G. Sumbul, B. Demir, V. Markl: reBEN: Refined BigEarthNet Dataset "
    "for Remote Sensing Image Analysis. IEEE International Geoscience and Remote Sensing Symposium (IGARSS), "
    "2025."
)
_LIBRARIES: Final = ("opencv-python-headless", "rasterio", "numpy", "pyarrow", "zstandard", "zlib-ng")
_REJECTED_NAMED: Final = 5


def require_few_rejected(tiles: Sequence[FinishedTile], asked_for: int, limit: int) -> None:
    """Check that at most `limit` patches were rejected, and that some were not.

    Raises:
        RejectedError: more were, or all; the message names the first of them with their reasons.
    """
    rejected = [one for tile in tiles for one in tile["images"].rejected]
    patches = sum(tile["images"].patches for tile in tiles)
    if len(rejected) <= limit and patches:
        return
    first = "; ".join(f"{one.patch_id}: {one.reason}" for one in rejected[:_REJECTED_NAMED])
    more = "; ..." if len(rejected) > _REJECTED_NAMED else ""
    others = f"Set max_rejected to {len(rejected)} to publish the others."
    remedy = others if patches else "None is left to publish."
    raise RejectedError(
        f"{len(rejected)} of {asked_for} patches were rejected, max_rejected is {limit} ({first}{more}). "
        f"Check the source. {remedy} Finished tiles are kept."
    )


def build_card(
    recipe: Recipe,
    asked_for: int,
    rejected: Sequence[Rejected],
    tiles: Sequence[card.TileEntry],
    statistics: Statistics,
    files: Sequence[card.PublishedFile],
) -> card.Card:
    """Build the card of a dataset whose `files` are all made; `tiles` are in the order of the zips."""
    form = recipe.rendering.mask_classes
    weights = statistics.weights(ignore_index(form))
    parts: dict[card.Part, SplitName | None] = {"all": None}
    parts |= {split: split for split in statistics.splits()}
    return card.Card(
        format=card.FORMAT,
        title=f"{recipe.source.title or 'BigEarthNet v2'}, as RGB and mask PNGs",
        license=LICENSE,
        citation=CITATION,
        source=recipe.source,
        parameters=card.Parameters(
            selection=recipe.selection,
            rendering=recipe.rendering,
            packaging=recipe.packaging,
            digests={kind: recipe.digest(kind) for kind in KINDS},
            beside=BESIDE,
        ),
        subset=recipe.subset,
        software={"bigearthnet-prefect": __version__} | {name: version(name) for name in _LIBRARIES},
        counts=card.Counts(
            tiles=sum(tile.patches > 0 for tile in tiles),
            asked_for=asked_for,
            patches=sum(tile.patches for tile in tiles),
            rejected=len(rejected),
            splits=statistics.splits(),
        ),
        mask_classes=tuple(
            card.ClassEntry(
                **asdict(entry),
                pixels={part: statistics.pixels(entry.value, split) for part, split in parts.items()},
                weights=weights.get(entry.value),
            )
            for entry in mask_classes(form)
        ),
        ignore_index=ignore_index(form),
        clc_codes=tuple(map(card.CodeEntry.model_validate, clc_codes())),
        images={part: found for part, split in parts.items() if (found := statistics.moments(split))},
        rejected=tuple(rejected),
        tiles=tuple(tiles),
        files=tuple(files),
    )
