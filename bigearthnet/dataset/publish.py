"""A dataset is put together beside the one that is there, and then takes its place.

The card makes a dataset published: the old card goes first and the new one comes last, so that a reader
who goes by it never sees a mixture. What lies between the two are renames.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigearthnet.classes import MaskForm
from bigearthnet.dataset.card import CARD, Card, PublishedFile
from bigearthnet.dataset.manifest import Statistics, write_manifest
from bigearthnet.dataset.preview import preview
from bigearthnet.names import is_tile
from bigearthnet.plan.metadata import Metadata
from bigearthnet.tile.convert import IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, MadeFile, MadeTile, made_file
from bigearthnet.work.digests import known_digest, remember_digest
from bigearthnet.zips.join import join_to_file

IMAGES_ZIP, MASKS_ZIP = "bigearthnet_pngs.zip", "bigearthnet_mask_pngs.zip"
MANIFEST, PREVIEW = "manifest.parquet", "preview.png"
ZIPS = {IMAGES_SHARD: IMAGES_ZIP, MASKS_SHARD: MASKS_ZIP}
"""The zip that the shards of a kind are joined to."""
SHARD_FOLDERS = {IMAGES_SHARD: "tiles/images", MASKS_SHARD: "tiles/masks"}
_STAGING = ".staging"


@dataclass(frozen=True, slots=True)
class StagedTile:
    """A made tile and the folder that its files lie in."""

    made: MadeTile
    folder: Path


def shard_name(shard: str, tile: str) -> str:
    """Where a tile's shard is published, relative to the destination."""
    return f"{SHARD_FOLDERS[shard]}/{tile}.zip"


def missing(destination: Path, card: Card, memo: Path) -> list[PublishedFile]:
    """The files of a card that are not in a folder, or are others."""
    return [f for f in card.files if not is_intact(destination / f.name, f.size, f.sha256, memo)]


def is_intact(path: Path, size: int, sha256: str, memo: Path) -> bool:
    """Whether a file is there and is this one. Read only if it changed since it was last looked at."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    known = known_digest(path, memo)
    if known is None:
        known = made_file(path).sha256
        remember_digest(path, known, memo)
    return known == sha256


def begin_staging(destination: Path) -> Path:
    """An empty folder at the destination; what an earlier run left there is removed."""
    staging = destination / _STAGING
    if staging.exists():
        shutil.rmtree(staging)
    for folder in SHARD_FOLDERS.values():
        (staging / folder).mkdir(parents=True)
    return staging


def stage_shards(tiles: Sequence[StagedTile], staging: Path) -> list[PublishedFile]:
    """Put the shards into staging: linked on the same disk, else copied."""
    files = []
    for tile in tiles:
        for shard, file in published_shards(tile.made):
            _link_or_copy(tile.folder / shard, staging / file.name)
            files.append(file)
    return files


def published_shards(made: MadeTile) -> list[tuple[str, PublishedFile]]:
    """The shards of a tile, each with the file that it is published as."""
    shards = ((IMAGES_SHARD, made.images), (MASKS_SHARD, made.masks))
    return [(shard, _published(shard_name(shard, made.tile), file)) for shard, file in shards]


def stage_zips(tiles: Sequence[StagedTile], staging: Path) -> list[PublishedFile]:
    """Join the shards to the two zips in staging."""
    files = []
    for shard, name in ZIPS.items():
        joined = join_to_file([tile.folder / shard for tile in tiles], staging / name)
        files.append(PublishedFile(name=name, size=joined.size, sha256=joined.sha256))
    return files


def stage_manifest(
    tiles: Sequence[StagedTile], metadata: Metadata | None, staging: Path
) -> tuple[PublishedFile, Statistics]:
    """Write the manifest to staging, and sum up its rows."""
    path = staging / MANIFEST
    statistics = write_manifest([(t.made.tile, t.folder / ROWS_FILE) for t in tiles], metadata, path)
    return published_file(MANIFEST, path), statistics


def stage_preview(tiles: Sequence[StagedTile], form: MaskForm, staging: Path) -> PublishedFile:
    """Write a contact sheet of patches from all over the dataset to staging."""
    path = staging / PREVIEW
    path.write_bytes(
        preview(
            [tile.made.patches for tile in tiles],
            lambda i: tiles[i].folder / IMAGES_SHARD,
            lambda i: tiles[i].folder / MASKS_SHARD,
            form,
        )
    )
    return published_file(PREVIEW, path)


def published_file(name: str, path: Path) -> PublishedFile:
    """A file that was just made, as it is published."""
    return _published(name, made_file(path))


def commit(card: Card, staging: Path, destination: Path, memo: Path) -> None:
    """Let the staged dataset take the place of the one that was there; the card comes last."""
    for file in card.files:
        _to_disk(staging / file.name)
    (staging / CARD).write_bytes(card.dump())
    _to_disk(staging / CARD)
    (destination / CARD).unlink(missing_ok=True)
    for folder in SHARD_FOLDERS.values():
        (destination / folder).mkdir(parents=True, exist_ok=True)
    for file in card.files:
        (staging / file.name).replace(destination / file.name)
        remember_digest(destination / file.name, file.sha256, memo)
    remove_stale_shards(card, destination)
    (staging / CARD).replace(destination / CARD)
    _to_disk(destination)
    shutil.rmtree(staging)


def remove_stale_shards(card: Card, destination: Path) -> None:
    """Remove the shards in a folder of a dataset that a card does not name."""
    named = {file.name for file in card.files}
    for folder in SHARD_FOLDERS.values():
        for path in (destination / folder).glob("*.zip"):
            if is_tile(path.stem) and f"{folder}/{path.name}" not in named:
                path.unlink()


def _published(name: str, made: MadeFile) -> PublishedFile:
    return PublishedFile(name=name, size=made.size, sha256=made.sha256)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
