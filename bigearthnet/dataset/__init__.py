"""A published dataset; how it is planned, made, published, fetched and shared is in the modules below."""

from bigearthnet.dataset.card import Card
from bigearthnet.dataset.layout import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP, PREVIEW
from bigearthnet.dataset.published import Published, find_published, require_published

__all__ = [
    "CARD",
    "IMAGES_ZIP",
    "MANIFEST",
    "MASKS_ZIP",
    "PREVIEW",
    "Card",
    "Published",
    "find_published",
    "require_published",
]
