"""Bundles in a store: kept for later renderings, or on their way to the workers of a cluster.

Kept ones are below `.bundles/<md5 of the archive>/`, the others below `.tiles/`, which publishing empties.
Beside each bundle, a zstd-compressed tar, is its description, which is written last.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from bigearthnet.archive.bundle import Bundles
from bigearthnet.dataset.layout import BUNDLES, TILES
from bigearthnet.dataset.published import sha256_of
from bigearthnet.errors import ChecksumError, StoreError
from bigearthnet.names import IMAGES_ARCHIVE, MAP, MAPS_ARCHIVE, RGB_BANDS
from bigearthnet.plan.recipe import KINDS, Kind, Recipe, digest_of
from bigearthnet.plan.selection import TilePlan
from bigearthnet.source.stream import Mark
from bigearthnet.store import Store
from bigearthnet.store.disk import translate_os_errors

KEPT_BANDS: Final = tuple(sorted({band for bands in RGB_BANDS.values() for band in bands}))
"""Bands of kept bundles: of every rendering."""
_FORMAT: Final = 1
"""Raise it when bundles get other members from the same archive and plan."""
_BUNDLE: Final = ".tar.zst"
_DESCRIPTION: Final = ".json"
_COPIED: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """The bands or the reference maps of a tile's selected patches, in a store."""

    name: str  # of its files, without their endings
    sha256: str
    unknown: tuple[str, ...]  # ids of patches that nothing lists; see `Bundles`
    mark: Mark | None  # position in the stream that it was extracted from; None if of a file, or verified


_DESCRIPTIONS = TypeAdapter(StoredBundle)


class BundleCache:
    """The bundles in a store, for a recipe. With `keeps`, new ones are kept, with `KEPT_BANDS`.

    With `streams` the run streams the images, which verifies what earlier streams left.
    """

    def __init__(self, store: Store, recipe: Recipe, *, keeps: bool, streams: bool) -> None:
        self.keeps = keeps
        self.bands = KEPT_BANDS if keeps else RGB_BANDS[recipe.rendering.bands]
        self._store = store
        self._recipe = recipe
        self._streams = streams
        self._there = {file.name for prefix in (BUNDLES, TILES) for file in store.list(prefix)}
        self._unverified: list[StoredBundle] = []

    @property
    def marks(self) -> list[Mark]:
        """Positions in the stream that kept bundles were made from, which nothing has verified yet."""
        return [one.mark for one in self._unverified if one.mark is not None]

    def find(self, tile: TilePlan) -> dict[Kind, StoredBundle]:
        """Return the bundles of a tile that have all that the recipe needs."""
        found = {kind: self._find(kind, tile) for kind in KINDS}
        return {kind: bundle for kind, bundle in found.items() if bundle is not None}

    def add(self, tile: TilePlan, bundles: Bundles, mark: Mark | None) -> dict[Kind, StoredBundle]:
        """Store the compressed bundles of a tile; `mark` is that of the images, if they were streamed."""
        stored: dict[Kind, StoredBundle] = {}
        prefix = BUNDLES if self.keeps else TILES
        if bundles.images is not None:
            name = prefix + self._key("images", tile, self.bands)
            stored["images"] = self._add(name, bundles.images, bundles.unknown, mark)
        if bundles.maps is not None:
            stored["masks"] = self._add(prefix + self._key("masks", tile, ()), bundles.maps, (), None)
        return stored

    def drop(self, stored: Mapping[Kind, StoredBundle]) -> None:
        """Remove bundles of a finished tile that are not to be kept."""
        names = [one.name for one in stored.values() if one.name.startswith(TILES)]
        self._store.delete([name + ending for name in names for ending in (_DESCRIPTION, _BUNDLE)])

    def settle(self, *, verified: bool) -> None:
        """Keep the bundles of this run's stream without their marks, or remove them if it was wrong."""
        for one in self._unverified:
            if verified:
                self._describe(replace(one, mark=None))
            else:
                self._store.delete([one.name + _DESCRIPTION, one.name + _BUNDLE])

    def remove_halves(self) -> None:
        """Remove what killed runs left: a kept bundle without its description, or the other way round."""
        kept = [name for name in self._there if name.startswith(BUNDLES)]
        pairs = {name: {stem_of(name) + _BUNDLE, stem_of(name) + _DESCRIPTION} for name in kept}
        self._store.delete([name for name, pair in pairs.items() if not pair <= self._there])

    def _find(self, kind: Kind, tile: TilePlan) -> StoredBundle | None:
        names = [BUNDLES + self._key(kind, tile, KEPT_BANDS)]
        if not self.keeps:
            names.append(TILES + self._key(kind, tile, self.bands))
        for name in names:
            if {name + _BUNDLE, name + _DESCRIPTION} <= self._there:
                try:
                    found = _DESCRIPTIONS.validate_json(self._store.read(name + _DESCRIPTION) or b"")
                except ValidationError:  # cut off, or by another version
                    continue
                if found.name == name and (found.mark is None or self._streams):
                    self._note(found)
                    return found
        return None

    def _add(self, name: str, path: Path, unknown: tuple[str, ...], mark: Mark | None) -> StoredBundle:
        stored = StoredBundle(name, sha256_of(path), unknown, mark)
        if name + _DESCRIPTION in self._there:  # of a bundle that cannot be used
            self._store.delete([name + _DESCRIPTION])
        self._store.upload(path, name + _BUNDLE)
        self._describe(stored)
        self._note(stored)
        return stored

    def _describe(self, stored: StoredBundle) -> None:
        self._store.write(stored.name + _DESCRIPTION, _DESCRIPTIONS.dump_json(stored))

    def _note(self, stored: StoredBundle) -> None:
        if stored.mark is not None and stored.name.startswith(BUNDLES):
            self._unverified.append(stored)

    def _key(self, kind: Kind, tile: TilePlan, bands: tuple[str, ...]) -> str:
        archive, layers = (IMAGES_ARCHIVE, sorted(bands)) if kind == "images" else (MAPS_ARCHIVE, [MAP])
        digest = digest_of(_FORMAT, tile.cells.tolist(), tile.whole)[:24]
        return f"{self._recipe.source.md5(archive)}/{'-'.join([tile.tile, *layers, digest])}"


def stem_of(name: str) -> str:
    """Return the name of a bundle's files without their endings."""
    return name.removesuffix(_DESCRIPTION).removesuffix(_BUNDLE)


def fetch(stored: Mapping[Kind, StoredBundle], store: Store, folder: Path, extracted: Bundles) -> Bundles:
    """Bring stored bundles to this machine, beside those that were just extracted.

    Raises:
        StoreError: one is not there.
        ChecksumError: one is damaged. It will be extracted again.
    """
    images = stored.get("images")
    paths = {kind: _fetch(one, store, folder) for kind, one in stored.items()}
    unknown = extracted.unknown if images is None else images.unknown
    return Bundles(paths.get("images", extracted.images), paths.get("masks", extracted.maps), unknown)


def _fetch(one: StoredBundle, store: Store, folder: Path) -> Path:
    """Copy a bundle from a bucket into `folder`; one in a folder is used in place, by a link."""
    name = one.name + _BUNDLE
    path = folder / Path(name).name
    file = store.head(name)
    if file is None:
        raise StoreError(
            f"cannot read {store.url}/{name}: it is not there. If this is another machine than the run's, "
            "the destination must be a bucket, or a folder that both share. Run again."
        )
    with translate_os_errors("write", path):
        if store.folder is not None:
            path.symlink_to(store.folder / name)
        else:
            with store.open(file) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, _COPIED)
        if sha256_of(path) == one.sha256:
            return path
    store.delete([one.name + _DESCRIPTION])  # so that the next run extracts it again
    raise ChecksumError(f"{store.url}/{name} is damaged. Run again: it will be extracted from the archive.")
