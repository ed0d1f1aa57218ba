"""The documents of a dataset: files that are made of its zips and manifest, each by a module of its own."""

from collections.abc import Callable, Mapping
from typing import Final

from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.layout import PREVIEW
from bigearthnet.dataset.preview import preview_png

DOCUMENTS: Final[Mapping[str, Callable[[Draft], bytes]]] = {
    PREVIEW: preview_png,
}
"""What makes each document, by its file name, in the order of the card: the same bytes of the same draft."""
