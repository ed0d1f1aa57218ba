"""Names of the files of a published dataset."""

from typing import Final

from bigearthnet.plan.recipe import Kind

IMAGES_ZIP: Final = "bigearthnet_pngs.zip"
MASKS_ZIP: Final = "bigearthnet_mask_pngs.zip"
ZIPS: Final[dict[Kind, str]] = {"images": IMAGES_ZIP, "masks": MASKS_ZIP}
MANIFEST: Final = "manifest.parquet"
PREVIEW: Final = "preview.png"
PAGE: Final = "preview.html"
INDEX: Final = "browse.bin"
FOOTPRINTS: Final = "footprints.parquet"
QUALITY: Final = "quality.json"
QUALITY_SHEET: Final = "quality.png"
README: Final = "README.md"
CROISSANT: Final = "croissant.json"
FILES: Final = frozenset(
    {
        *(IMAGES_ZIP, MASKS_ZIP, MANIFEST, PREVIEW, PAGE, INDEX, FOOTPRINTS),
        *(QUALITY, QUALITY_SHEET, README, CROISSANT),
    }
)
"""The files that every card names."""
BESIDE: Final = 2
"""Raise it when code gives the manifest or a document other bytes: published ones are then made again."""
CARD: Final = "dataset.json"
"""Written last: a dataset without it is not published."""

TILES: Final = ".tiles/"
"""Finished tiles of a run that has not published yet, and bundles on their way to a cluster."""
REPLACED: Final = ".replaced.json"
"""While there is no card: names of files that the old card had, or that a killed run made visible."""
BUNDLES: Final = ".bundles/"
"""Bundles that are kept for later renderings."""
