"""A published dataset: its card, manifest and preview; finished tiles, publishing, fetching and links."""

from bigearthnet.dataset.build import require_few_rejected
from bigearthnet.dataset.card import Card, PublishedFile, TileEntry
from bigearthnet.dataset.copies import (
    Choice,
    choose,
    copy_file,
    copy_tile,
    finish,
    matching,
    missing_files,
    tile_zip,
)
from bigearthnet.dataset.freshness import (
    Comparison,
    compare_with_record,
    comparison_markdown,
    option_changes,
    record_of,
)
from bigearthnet.dataset.jobs import Job, converted_patches, needs_images, plan_jobs, plan_tile
from bigearthnet.dataset.layout import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP, PREVIEW
from bigearthnet.dataset.links import Link, life_of, links_as_markdown, links_path, saved_as, utc, write_links
from bigearthnet.dataset.publish import Publication, ZipDigest, is_published, publish, zip_digests
from bigearthnet.dataset.published import (
    Published,
    find_published,
    local_manifest,
    require_published,
    tile_rows,
)
from bigearthnet.dataset.report import Effort, Stopwatch, report_markdown, summary
from bigearthnet.dataset.tiles import FinishedTile, Shard, TileCache

__all__ = [
    "CARD",
    "IMAGES_ZIP",
    "MANIFEST",
    "MASKS_ZIP",
    "PREVIEW",
    "Card",
    "Choice",
    "Comparison",
    "Effort",
    "FinishedTile",
    "Job",
    "Link",
    "Publication",
    "Published",
    "PublishedFile",
    "Shard",
    "Stopwatch",
    "TileCache",
    "TileEntry",
    "ZipDigest",
    "choose",
    "compare_with_record",
    "comparison_markdown",
    "converted_patches",
    "copy_file",
    "copy_tile",
    "find_published",
    "finish",
    "is_published",
    "life_of",
    "links_as_markdown",
    "links_path",
    "local_manifest",
    "matching",
    "missing_files",
    "needs_images",
    "option_changes",
    "plan_jobs",
    "plan_tile",
    "publish",
    "record_of",
    "report_markdown",
    "require_few_rejected",
    "require_published",
    "saved_as",
    "summary",
    "tile_rows",
    "tile_zip",
    "utc",
    "write_links",
    "zip_digests",
]
