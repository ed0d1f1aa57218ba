"""The page of a dataset, `preview.html`: pairs, classes and a map, for a person with a browser.

It holds all that it shows. Over HTTP it can also show any other patch, by the index and ranges of the zips.
"""

import base64
import hashlib
import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa

from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.geography import is_utm, lon_lat
from bigearthnet.dataset.index import PLACE_COLUMNS, class_counts, places
from bigearthnet.dataset.layout import INDEX, ZIPS
from bigearthnet.dataset.pairs import choose_pairs
from bigearthnet.errors import ArchiveError
from bigearthnet.names import PATCH_METRES
from bigearthnet.options import COUNTRIES, SPLITS
from bigearthnet.plan.recipe import KINDS
from bigearthnet.tile.rows import SUFFIXES
from bigearthnet.zips.format import LOCAL_BYTES

_PAIRS: Final = 120
_JPEG_QUALITY: Final = 70
_TILE_METRES: Final = 109_800
"""Side of a tile of Sentinel-2."""
_CORNER_COLUMNS: Final = ("crs", "x_min", "y_max", "column", "row")
_PAIR_COLUMNS: Final = (
    *("patch_id", *PLACE_COLUMNS, "class_pixels"),
    *("image_offset", "image_size", "mask_offset", "mask_size"),
)


def page_html(draft: Draft) -> bytes:
    """Return the page, with pairs that show each class.

    Raises:
        ArchiveError: a shard holds no PNGs.
    """
    card = draft.card
    tiles, countries = _tiles(draft)
    data = {
        "title": card.title,
        "patches": card.counts.patches,
        "index": INDEX,
        "zips": [{"name": ZIPS[kind], "between": LOCAL_BYTES + len(SUFFIXES[kind])} for kind in KINDS],
        "splits": [{"name": name, "patches": card.counts.splits.get(name, 0)} for name in SPLITS],
        "countries": [{"name": name, "patches": countries[i + 1]} for i, name in enumerate(COUNTRIES)],
        "classes": [
            entry.model_dump(mode="json", include={"value", "name", "colour", "pixels"})
            for entry in card.mask_classes
        ],
        "tiles": tiles,
        "pairs": _pairs(draft),
    }
    # No text of others can end the element, whatever it holds.
    text = json.dumps(data, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c")
    style, script = (_part(f"page.{kind}") for kind in ("css", "js"))
    parts = {
        "style-digest": _digest(style),
        "script-digest": _digest(script),
        "title": html.escape(card.title),
        "style": style,
        "script": script,
        "data": text,
    }
    return re.sub(r"{{([a-z-]+)}}", lambda mark: parts[mark[1]], _part("page.html")).encode()


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return the source expression of an element's text for the Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _tiles(draft: Draft) -> tuple[list[dict[str, Any]], Counter[int]]:
    """Return all tiles with patches, and the number of patches by country as the index has it."""
    tiles, countries = [], Counter[int]()
    for index, rows in draft.rows((*PLACE_COLUMNS, *_CORNER_COLUMNS)):
        entry, here = draft.card.tiles[index], Counter((places(rows) >> 2).tolist())
        countries += here
        tiles.append(
            {
                "name": entry.tile,
                "patches": entry.patches,
                "starts": [entry.shard(kind).start for kind in KINDS],
                "country": min(here, key=lambda country: (-here[country], country)),
                "corners": _corners(rows),
            }
        )
    return tiles, countries


def _corners(rows: pa.Table) -> list[list[float]]:
    """Return longitude and latitude of the corners of a tile, by one of its patches; none outside of UTM."""
    epsg, x_min, y_max, column, row = (rows.column(name)[0].as_py() for name in _CORNER_COLUMNS)
    if not is_utm(epsg):
        return []
    left, top = x_min - column * PATCH_METRES, y_max + row * PATCH_METRES
    right, bottom = left + _TILE_METRES, top - _TILE_METRES
    points = lon_lat(epsg, [left, right, right, left], [top, top, bottom, bottom])
    return [[round(float(lon), 3), round(float(lat), 3)] for lon, lat in zip(*points, strict=True)]


def _pairs(draft: Draft) -> list[dict[str, Any]]:
    """Return the chosen pairs: a JPEG of the image, and the mask's own PNG."""
    chosen: dict[int, list[int]] = {}
    for tile, nth in choose_pairs(draft, _PAIRS):
        chosen.setdefault(tile, []).append(nth)
    tiles = [index for index, entry in enumerate(draft.card.tiles) if entry.patches]
    values, pairs = [entry.value for entry in draft.card.mask_classes], []
    for tile, all_rows in draft.rows(_PAIR_COLUMNS):
        rows = all_rows.take(pa.array(chosen.get(tile, []), pa.int64()))
        has = class_counts(rows, values) > 0
        for row, place, classes in zip(rows.to_pylist(), places(rows).tolist(), has, strict=True):
            image = draft.read("images", tile, row["image_offset"], row["image_size"])
            mask = draft.read("masks", tile, row["mask_offset"], row["mask_size"])
            pictures = (_jpeg(image, row["patch_id"]), mask)
            pairs.append(
                {
                    "tile": tiles.index(tile),
                    "id": row["patch_id"],
                    "place": place,
                    "classes": np.flatnonzero(classes).tolist(),
                    "pictures": [base64.b64encode(picture).decode() for picture in pictures],
                }
            )
    return pairs


def _jpeg(png: bytes, patch_id: str) -> bytes:
    """Encode an image anew. The bytes depend on OpenCV's version alone: it has its own JPEG library."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ArchiveError(f"the image of {patch_id} is no PNG. Prepare the dataset again.")
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
