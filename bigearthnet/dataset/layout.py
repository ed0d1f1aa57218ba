"""Names of the files of a published dataset."""

from typing import Final

from bigearthnet.plan.recipe import Kind

IMAGES_ZIP: Final = "bigearthnet_pngs.zip"
MASKS_ZIP: Final = "bigearthnet_mask_pngs.zip"
ZIPS: Final[dict[Kind, str]] = {"images": IMAGES_ZIP, "masks": MASKS_ZIP}
MANIFEST: Final = "manifest.parquet"
PREVIEW: Final = "preview.png"
FILES: Final = frozenset({IMAGES_ZIP, MASKS_ZIP, MANIFEST, PREVIEW})
"""The files that every card names."""
BESIDE: Final = 1
"""Raise it when code gives the manifest or a document other bytes: published ones are then made again."""
CARD: Final = "dataset.json"
"""Written last: a dataset without it is not published."""

TILES: Final = ".tiles/"
"""Finished tiles of a run that has not published yet."""
