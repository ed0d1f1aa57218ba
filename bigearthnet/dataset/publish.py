"""Publish finished tiles: everything is put together beside the old dataset, then takes its place.

The card makes a dataset published: the old one is removed first, the new one is written last. What can fail
for long is done before that.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bigearthnet.dataset.build import build_card
from bigearthnet.dataset.card import Card, PublishedFile, ShardEntry, TileEntry
from bigearthnet.dataset.documents import DOCUMENTS
from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.formats import keep_files, write_files
from bigearthnet.dataset.jobs import Job
from bigearthnet.dataset.layout import MANIFEST, ZIPS
from bigearthnet.dataset.manifest import manifest_rows, open_manifest
from bigearthnet.dataset.published import sha256_of
from bigearthnet.dataset.replace import forget_old_files, replace_dataset
from bigearthnet.dataset.statistics import Statistics
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.errors import ArchiveError
from bigearthnet.plan.metadata import Metadata
from bigearthnet.plan.recipe import KINDS, Kind, Recipe
from bigearthnet.store import Lock, Piece, Staged, Store
from bigearthnet.store.disk import translate_os_errors
from bigearthnet.tile.rows import members
from bigearthnet.zips.join import CentralDirectory


class ZipDigest:
    """SHA-256 of a zip that is put together later, from its shards in their order.

    Each shard is hashed once, while it is still on this machine: a bucket joins zips without telling their
    SHA-256.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, source: Piece, store: Store) -> None:
        """Add the bytes of a shard, which are read; after an error the digest must not be used."""
        with (
            source.open("rb")
            if isinstance(source, Path)
            else store.open(source.file, source.start, source.stop)
        ) as reader:
            hashlib.file_digest(reader, lambda: self._digest)

    def of_zip(self, central_directory: Path) -> str:
        """Return the SHA-256 (hex) of the zip that ends with this central directory."""
        digest = self._digest.copy()
        with central_directory.open("rb") as reader:
            return hashlib.file_digest(reader, lambda: digest).hexdigest()


def zip_digests(jobs: Sequence[Job], cache: TileCache) -> dict[Kind, ZipDigest]:
    """Return a digest for each zip that has to be put together anew."""
    keys = {kind: [job.keys[kind] for job in jobs] for kind in KINDS}
    return {kind: ZipDigest() for kind in KINDS if cache.keys_in_zip(kind) != keys[kind]}


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be published."""

    recipe: Recipe
    asked_for: int  # number of selected patches
    tiles: Sequence[FinishedTile]  # in the order of the archives
    digests: Mapping[Kind, ZipDigest]  # of each zip that changes; published zips of other kinds stay
    metadata: Metadata | None


def publish(what: Publication, cache: TileCache, lock: Lock) -> Card:
    """Publish a dataset; an interrupted call leaves the old dataset or the new one.

    Manifest, documents, central directories and, file by file, other formats are first written to the cache's
    `scratch`, an empty folder.

    Returns:
        The new card; the object `cache.published.card` where nothing differs, so that nothing is written.

    Raises:
        ArchiveError: a shard is damaged.
        BusyError: another run has taken the destination over.
    """
    published, store, scratch = cache.published, cache.store, cache.scratch
    if published is not None and published.is_whole_of(what.recipe) and not what.digests:
        cache.clear()
        forget_old_files(store)  # a run that was killed at its very end has not
        return published.card
    with translate_os_errors("write", scratch):
        entries, statistics = _write_manifest(what, cache)
    rejected = [one for tile in what.tiles for one in tile["images"].rejected]
    files: list[PublishedFile] = []
    staged: list[Staged] = []
    with ExitStack() as stack:

        def stage(name: str, pieces: list[Piece], sha256: str) -> None:
            staged.append(stack.enter_context(store.stage(name, pieces, sha256)))
            files.append(PublishedFile(name=name, size=staged[-1].size, sha256=sha256))

        for kind in KINDS:
            if kind not in what.digests and published is not None:
                files.append(published.card.file(ZIPS[kind]))
                continue
            central = scratch / f"{kind}.central"
            ranges = [tile[kind].source for tile in what.tiles]
            pieces: list[Piece] = [one for one in ranges if one.stop > one.start]
            stage(ZIPS[kind], [*pieces, central], what.digests[kind].of_zip(central))
        stage(MANIFEST, [scratch / MANIFEST], sha256_of(scratch / MANIFEST))
        card = build_card(what.recipe, what.asked_for, rejected, entries, statistics, files)
        draft = Draft(card, scratch / MANIFEST, what.tiles, cache)
        for name in DOCUMENTS:
            _write_document(draft, name, scratch)
            stage(name, [scratch / name], sha256_of(scratch / name))
        kept = keep_files(published, card)
        files += [file for some in kept.values() for file in some]
        others = [name for name in what.recipe.packaging.formats if name not in kept]
        for name, path in write_files(draft, others, scratch):
            stage(name, [path], sha256_of(path))
            path.unlink()
        files.sort(key=lambda file: file.name if "/" in file.name else "")  # formats' files come last
        card = card.model_copy(update={"files": tuple(files)})
        lock.check()
        names = {file.name for file in files}
        replace_dataset(store, [one.commit for one in staged], names, card.dump(), published)
    cache.clear()
    forget_old_files(store)
    return card


def _write_document(draft: Draft, name: str, scratch: Path) -> None:
    """Make a document; its bytes are not held while the next one is made."""
    document = DOCUMENTS[name](draft)
    with translate_os_errors("write", scratch):
        (scratch / name).write_bytes(document)


def _write_manifest(what: Publication, cache: TileCache) -> tuple[list[TileEntry], Statistics]:
    """Write the manifest, a row group a tile, and both central directories to `cache.scratch`.

    Returns:
        Where the tiles are in the zips, and the sums over the manifest.
    """
    entries, statistics, scratch = list[TileEntry](), Statistics(), cache.scratch
    directories, form = {kind: CentralDirectory() for kind in KINDS}, what.recipe.rendering.mask_classes
    with ExitStack() as stack:
        manifest = stack.enter_context(open_manifest(scratch / MANIFEST))
        files = {kind: stack.enter_context((scratch / f"{kind}.central").open("wb")) for kind in KINDS}
        for tile in what.tiles:
            name, patches = tile["images"].tile, tile["images"].patches
            rows = {kind: cache.rows(tile[kind]) for kind in KINDS}
            places = {}
            for kind, directory in directories.items():
                start, source = directory.offset, tile[kind].source
                files[kind].write(directory.add(members(rows[kind], kind)))
                if directory.offset - start != source.stop - source.start:
                    raise ArchiveError(
                        f"the {kind} of {name} in {source.file.name} do not match their rows. "
                        "Delete the dataset and prepare it again."
                    )
                places[kind] = ShardEntry(key=tile[kind].key, start=start, stop=directory.offset)
            entry = TileEntry(tile=name, patches=patches, images=places["images"], masks=places["masks"])
            entries.append(entry)
            if patches:
                table = manifest_rows(entry, rows, what.metadata, form)
                statistics.add(table)
                manifest.write_table(table)
        for kind, directory in directories.items():
            files[kind].write(directory.end())
    return entries, statistics
