"""A published dataset as it is found in a store."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from bigearthnet.dataset.card import Card, PublishedFile, parse_card
from bigearthnet.dataset.layout import BESIDE, CARD, FILES, MANIFEST, ZIPS
from bigearthnet.dataset.manifest import SCHEMA
from bigearthnet.errors import ChecksumError, SourceError
from bigearthnet.plan.recipe import KINDS, Recipe, RecordUsed
from bigearthnet.progress import some
from bigearthnet.store import Store, StoredFile
from bigearthnet.store.disk import translate_os_errors
from bigearthnet.tile.rows import column, read_rows

PNG_LIMIT: Final = 1 << 20
"""Most bytes of a PNG, which is read into memory; the pixels of one have at most 43,200."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published dataset."""

    card: Card
    data: bytes  # of the card
    intact: Mapping[str, StoredFile]  # files that are there as the card says, by name

    @property
    def missing(self) -> tuple[PublishedFile, ...]:
        """The files of the card that are not there, or differ from it."""
        return tuple(file for file in self.card.files if file.name not in self.intact)

    def is_whole_of(self, recipe: Recipe) -> bool:
        """Return True if it was made by that recipe, lacks no file, and has the documents of this version."""
        made = self.card.parameters
        if self.missing or made.beside != BESIDE or not {file.name for file in self.card.files} >= FILES:
            return False
        now = Recipe(self.card.source, made.selection, made.rendering, made.packaging, self.card.subset)
        return now == recipe

    def verified_as(self, source: RecordUsed) -> "Published":
        """Return it without its images if they came from a stream that was not verified, unlike `source`."""
        if self.card.source.is_verified or not source.is_verified:
            return self
        intact = {name: file for name, file in self.intact.items() if name != ZIPS["images"]}
        return replace(self, intact=intact)


def find_published(store: Store, *, digests: bool = True) -> Published | None:
    """Return the dataset that a store holds, None if there is none.

    A folder's files are read where they changed since their digests were last noted. A bucket's are not read:
    an object without a noted digest counts as another file. Without `digests` only sizes are compared.

    Raises:
        SourceError: there is a file with the card's name that is no card.
    """
    data = store.read(CARD)
    if data is None:
        return None
    card = parse_card(data, f"{store.url}/{CARD}")
    found = {file.name: find_intact(file, store, digests=digests) for file in card.files}
    return Published(card, data, {name: there for name, there in found.items() if there is not None})


def require_published(store: Store) -> Published:
    """Return the dataset that a store holds, for reading: its files only have to be there with their sizes.

    Raises:
        SourceError: there is none, or files of it are missing.
    """
    published = find_published(store, digests=False)
    if published is None:
        raise SourceError(
            f"there is no dataset in {store.url}: it has no {CARD}. Check the name, or publish it first."
        )
    if published.missing:
        names = some([file.name for file in published.missing], 10)
        raise SourceError(f"{store.url} lacks files that its card names: {names}. Publish it again.")
    return published


def local_manifest(published: Published, store: Store, scratch: Path) -> Path:
    """Return the path of the manifest on this machine; one in a bucket is copied to `scratch`, once.

    Raises:
        ChecksumError: it is not the one that the card names.
        SpaceError: the disk is full.
    """
    sha256 = published.card.file(MANIFEST).sha256
    path = (store.folder or scratch) / MANIFEST
    if store.folder is None:
        path = path.with_name(f"published.{MANIFEST}")  # beside the one that publishing writes there
        if not path.is_file() or sha256_of(path) != sha256:
            with translate_os_errors("write", path), store.open(published.intact[MANIFEST]) as source:
                scratch.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as target:
                    shutil.copyfileobj(source, target)
    if sha256_of(path) != sha256:
        raise ChecksumError(f"{store.url}/{MANIFEST} is not the one that its card names. Publish it again.")
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tile_rows(manifest: Path, card: Card, tile: str, columns: pa.Schema = SCHEMA) -> pa.Table:
    """Return columns of the rows of a tile with patches, which is a row group of the manifest.

    Raises:
        ChecksumError: the manifest is damaged or does not match the card, or a PNG is absurdly large.
    """
    names = [entry.tile for entry in card.tiles if entry.patches]
    advice = f"Remove {MANIFEST} from the dataset, then prepare it again."
    rows = read_rows(manifest, columns, str(manifest), advice, names.index(tile))
    tiles = {patch_id[:-6] for patch_id in rows.column("patch_id").to_pylist()}
    sizes = [rows.column(name) for name in (column(kind, "size") for kind in KINDS) if name in columns.names]
    if tiles != {tile} or any(pc.max(size).as_py() > PNG_LIMIT for size in sizes):
        raise ChecksumError(f"the rows of {tile} in {MANIFEST} do not match {CARD}. {advice}")
    return rows


def find_intact(file: PublishedFile, store: Store, *, digests: bool = True) -> StoredFile | None:
    """Return the file in the store that has the size and, with `digests`, the SHA-256 of the card."""
    found = store.head(file.name)
    if found is None or found.size != file.size or (digests and store.digest(found) != file.sha256):
        return None
    return found
