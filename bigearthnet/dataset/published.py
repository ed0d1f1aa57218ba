"""A published dataset as it is found in a store."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bigearthnet.dataset.card import Card, PublishedFile, parse_card
from bigearthnet.dataset.layout import CARD, MANIFEST
from bigearthnet.errors import SourceError
from bigearthnet.store import Store, StoredFile

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Published:
    """A published dataset.

    Attributes:
        card: its card.
        data: the card's bytes.
        intact: the files that are there with the size and SHA-256 of the card, by name.
    """

    card: Card
    data: bytes
    intact: Mapping[str, StoredFile]

    @property
    def missing(self) -> tuple[PublishedFile, ...]:
        """The files of the card that are not there, or differ from it."""
        return tuple(file for file in self.card.files if file.name not in self.intact)


def find_published(store: Store) -> Published | None:
    """Return the dataset that a store holds, None if there is none.

    A folder's files are read where they changed since their digests were last noted; a bucket's are not read.

    Raises:
        SourceError: there is a file with the card's name that is no card.
    """
    data = store.read(CARD)
    if data is None:
        return None
    card = parse_card(data, f"{store.url}/{CARD}")
    found = {file.name: _intact(store, file) for file in card.files}
    return Published(card, data, {name: file for name, file in found.items() if file is not None})


def require_published(store: Store) -> Published:
    """Return the dataset that a store holds.

    Raises:
        SourceError: there is none.
    """
    published = find_published(store)
    if published is None:
        raise SourceError(
            f"there is no dataset in {store.url}: it has no {CARD}. Check the name, or publish it first."
        )
    return published


def local_manifest(published: Published, store: Store, scratch: Path) -> Path:
    """Return the path of the manifest on this machine; one in a bucket is copied to `scratch`."""
    if store.folder is not None:
        return store.folder / MANIFEST
    path = scratch / MANIFEST
    scratch.mkdir(parents=True, exist_ok=True)
    with store.open(published.intact[MANIFEST]) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, _BLOCK_BYTES)
    return path


def _intact(store: Store, file: PublishedFile) -> StoredFile | None:
    found = store.head(file.name)
    if found is None or found.size != file.size or store.digest(found) != file.sha256:
        return None
    return found
