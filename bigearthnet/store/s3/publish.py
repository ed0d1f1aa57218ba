"""A dataset takes its place in a bucket, as `publish` does it in a folder.

All that takes long is done beside what is there: the parts of both zips are put together on the server,
manifest and preview wait on the disk. Then the old card goes, what differs is replaced, and the new card
comes last.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigearthnet.dataset.card import CARD, Card, PublishedFile, parse_card
from bigearthnet.dataset.publish import MANIFEST, PREVIEW, SHARD_FOLDERS, ZIPS
from bigearthnet.names import is_tile
from bigearthnet.store.s3.join import BucketShard, joined
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed
from bigearthnet.store.s3.tiles import SHA256, SHARDS, is_tile_object

_FILES: Final = frozenset({CARD, MANIFEST, PREVIEW, *ZIPS.values()})

Metadata = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a dataset is put together from.

    Attributes:
        zips: for each kind of shard, those that are joined to one zip, and its SHA-256.
        staged: files on this disk by their published names.
        shards: the object for each published shard, wherever it lies.
        metadata: of all objects that are written, beside their digests.
    """

    zips: Mapping[str, tuple[Sequence[BucketShard], str]]
    staged: Mapping[str, tuple[Path, PublishedFile]]
    shards: Sequence[tuple[Listed, PublishedFile]]
    metadata: Metadata


def read_bucket_card(bucket: Bucket) -> Card | None:
    """The card of the dataset that is published there, if one is.

    Raises:
        SourceError: there is an object of that name that is no card.
    """
    data = bucket.read(CARD)
    return None if data is None else parse_card(data, bucket.place.url(CARD))


def is_in_place(bucket: Bucket, file: PublishedFile) -> bool:
    """Whether an object is there, and is this file."""
    found = bucket.head(file.name)
    return found is not None and (found.size, found.metadata.get(SHA256)) == (file.size, file.sha256)


def is_own(name: str) -> bool:
    """Whether an object of that name is one that publishing writes."""
    folder, _, file = name.rpartition("/")
    is_shard = folder in SHARD_FOLDERS.values() and is_tile(file.removesuffix(".zip"))
    return name in _FILES or is_shard or is_tile_object(name)


def commit(
    bucket: Bucket, parts: Parts, card_of: Callable[[list[PublishedFile]], Card], check: Callable[[], None]
) -> Card:
    """Let a dataset take the place of the one that is there.

    Args:
        bucket: where to.
        parts: what it is put together from.
        card_of: makes the card of the files.
        check: is called before anything that is published changes; raises if it must not.

    Raises:
        what `errors.told` describes.
    """
    with ExitStack() as uploads:
        zips, complete = [], []
        for shard in SHARDS:
            file, finish = _zip(bucket, ZIPS[shard], parts, shard, uploads)
            zips.append(file)
            complete.append(finish)
        files = zips + [file for _, file in parts.staged.values()] + [file for _, file in parts.shards]
        card = card_of(files)
        changed = [(listed, file) for listed, file in parts.shards if listed.name != file.name]
        check()
        bucket.delete([CARD])
        for finish in complete:
            finish()
        for listed, file in changed:
            bucket.copy(listed.name, file.name)
        for path, file in parts.staged.values():
            if not is_in_place(bucket, file):
                bucket.upload(path, file.name, {**parts.metadata, SHA256: file.sha256})
        bucket.delete(_stale_shards(bucket, card))
        bucket.write(CARD, card.dump(), parts.metadata)
    return card


def _zip(
    bucket: Bucket, name: str, parts: Parts, shard: str, uploads: ExitStack
) -> tuple[PublishedFile, Callable[[], object]]:
    """A zip that waits to take its place, and what lets it; one that is there already stays."""
    shards, sha256 = parts.zips[shard]
    found = bucket.head(name)
    if found is not None and found.metadata.get(SHA256) == sha256:
        return PublishedFile(name=name, size=found.size, sha256=sha256), lambda: None
    upload = uploads.enter_context(joined(bucket, shards, name, {**parts.metadata, SHA256: sha256}))
    return PublishedFile(name=name, size=upload.size, sha256=sha256), upload.complete


def _stale_shards(bucket: Bucket, card: Card) -> Iterator[str]:
    named = {file.name for file in card.files}
    for folder in SHARD_FOLDERS.values():
        for listed in bucket.listing(f"{folder}/"):
            if is_own(listed.name) and listed.name not in named:
                yield listed.name
