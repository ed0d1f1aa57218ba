"""A published dataset: its card, manifest and preview; finished tiles, publishing, fetching and links."""

from bigearthnet.dataset.build import require_few_rejected
from bigearthnet.dataset.card import Card, PublishedFile
from bigearthnet.dataset.jobs import Job, converted_patches, needs_images, plan_jobs, plan_tile
from bigearthnet.dataset.layout import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP, PREVIEW
from bigearthnet.dataset.publish import Publication, ZipDigest, is_published, publish, zip_digests
from bigearthnet.dataset.published import Published, find_published, require_published
from bigearthnet.dataset.report import Effort, Stopwatch, report_markdown, summary
from bigearthnet.dataset.tiles import FinishedTile, Shard, TileCache

__all__ = [
    "CARD",
    "IMAGES_ZIP",
    "MANIFEST",
    "MASKS_ZIP",
    "PREVIEW",
    "Card",
    "Effort",
    "FinishedTile",
    "Job",
    "Publication",
    "Published",
    "PublishedFile",
    "Shard",
    "Stopwatch",
    "TileCache",
    "ZipDigest",
    "converted_patches",
    "find_published",
    "is_published",
    "needs_images",
    "plan_jobs",
    "plan_tile",
    "publish",
    "report_markdown",
    "require_few_rejected",
    "require_published",
    "summary",
    "zip_digests",
]
