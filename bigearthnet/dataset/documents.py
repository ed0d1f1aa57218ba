"""The documents of a dataset: files that are made of its zips and manifest, each by a module of its own."""

from collections.abc import Callable, Mapping
from typing import Final

from bigearthnet.dataset.croissant import croissant_json
from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.footprints import footprints_parquet
from bigearthnet.dataset.index import index_bin
from bigearthnet.dataset.layout import (
    CROISSANT,
    FOOTPRINTS,
    INDEX,
    PAGE,
    PREVIEW,
    QUALITY,
    QUALITY_SHEET,
    README,
)
from bigearthnet.dataset.page import page_html
from bigearthnet.dataset.preview import preview_png
from bigearthnet.dataset.quality import quality_json, quality_png
from bigearthnet.dataset.readme import readme_md

DOCUMENTS: Final[Mapping[str, Callable[[Draft], bytes]]] = {
    PREVIEW: preview_png,
    PAGE: page_html,
    INDEX: index_bin,
    FOOTPRINTS: footprints_parquet,
    QUALITY: quality_json,
    QUALITY_SHEET: quality_png,
    README: readme_md,
    CROISSANT: croissant_json,
}
"""What makes each document, by its file name, in the order of the card: the same bytes of the same draft."""
