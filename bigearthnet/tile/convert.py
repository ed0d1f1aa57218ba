"""A tile's bundles become two shards and the tile's rows for the manifest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigearthnet.archive.bundle import Bundles, PatchFiles, patch_files
from bigearthnet.dataset.manifest import SQUARE_COLUMNS, SUM_COLUMNS, write_tile_rows
from bigearthnet.errors import PatchError
from bigearthnet.names import MAP, RGB_BANDS, Patch, parse_patch
from bigearthnet.options import Rendering
from bigearthnet.plan.selection import TilePlan
from bigearthnet.tile.raster import Georeference, decode, georeference
from bigearthnet.tile.render import Image, Mask, render_image, render_mask
from bigearthnet.zips.shard import ShardWriter

IMAGES_SHARD, MASKS_SHARD, ROWS_FILE = "images.zip", "masks.zip", "rows.parquet"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A patch that was left out, and why."""

    patch_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that was made: bytes and SHA-256 (hex)."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class MadeTile:
    """What became of a tile: how many patches are in its shards, and which were rejected."""

    tile: str
    patches: int
    rejected: tuple[Rejected, ...]
    images: MadeFile
    masks: MadeFile
    rows: MadeFile


def convert_tile(tile: TilePlan, bundles: Bundles, rendering: Rendering, folder: Path) -> MadeTile:
    """Make shards and rows of a tile in `folder`; each file is there whole or not at all.

    A patch that lacks its image or map, or has a bad one, is rejected; it is in neither shard.
    """
    strays = [Rejected(patch_id, "no reference map and no metadata of it") for patch_id in bundles.strays]
    rejected, rows = list(strays), list[dict[str, Any]]()
    located: Georeference | None = None
    with ShardWriter(folder / IMAGES_SHARD) as images, ShardWriter(folder / MASKS_SHARD) as masks:
        for files in patch_files(bundles, tile.patch_ids):
            try:
                image, mask = _render(files, rendering)
                patch = parse_patch(files.patch_id)
                located = located or georeference(files.bands[RGB_BANDS[0]], patch)
            except PatchError as error:
                rejected.append(Rejected(files.patch_id, str(error)))
                continue
            sizes = {
                "image_size": len(image.png),
                "image_crc32": images.add(f"{files.patch_id}.png", image.png),
                "mask_size": len(mask.png),
                "mask_crc32": masks.add(f"{files.patch_id}_mask.png", mask.png),
            }
            rows.append(sizes | _row(patch, located, image, mask))
    write_tile_rows(rows, folder / ROWS_FILE)
    return MadeTile(
        tile.tile,
        len(rows),
        tuple(sorted(rejected, key=lambda one: one.patch_id)),
        MadeFile(images.summary.size, images.summary.sha256),
        MadeFile(masks.summary.size, masks.summary.sha256),
        made_file(folder / ROWS_FILE),
    )


def made_file(path: Path) -> MadeFile:
    """Size and SHA-256 of a file that was just made."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return MadeFile(path.stat().st_size, digest)


def _render(files: PatchFiles, rendering: Rendering) -> tuple[Image, Mask]:
    missing = [band for band in RGB_BANDS if band not in files.bands]
    if missing:
        raise PatchError(f"missing in the images' archive: {', '.join(missing)}")
    if files.map is None:
        raise PatchError("missing in the reference maps' archive: its map")
    bands = [decode(files.bands[band], band) for band in RGB_BANDS]
    mask = render_mask(decode(files.map, MAP), rendering, MAP)
    return render_image(bands, rendering), mask


def _row(patch: Patch, located: Georeference, image: Image, mask: Mask) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = located.bounds(patch)
    return {
        "patch_id": patch.patch_id,
        "crs": located.epsg,
        "x_min": x_min,
        "y_min": y_min,
        "x_max": x_max,
        "y_max": y_max,
        "class_pixels": list(mask.pixels.items()),
        **dict(zip(SUM_COLUMNS, image.sums, strict=True)),
        **dict(zip(SQUARE_COLUMNS, image.squares, strict=True)),
    }
