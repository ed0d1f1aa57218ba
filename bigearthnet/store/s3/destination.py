"""A destination in a bucket: each tile leaves the disk when it is done, the zips are joined on the server."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bigearthnet.dataset.card import Card, PublishedFile, digest_of, parameters
from bigearthnet.dataset.describe import Making, describe, digest
from bigearthnet.dataset.destination import Say
from bigearthnet.dataset.preview import preview
from bigearthnet.dataset.publish import (
    MANIFEST,
    PREVIEW,
    ZIPS,
    StagedTile,
    published_file,
    published_shards,
    stage_manifest,
)
from bigearthnet.errors import ChecksumError
from bigearthnet.plan.jobs import Done, Job, Work
from bigearthnet.plan.metadata import Metadata
from bigearthnet.store.s3 import lock as bucket_lock
from bigearthnet.store.s3.digest import JoinedDigest
from bigearthnet.store.s3.file import open_object
from bigearthnet.store.s3.join import BucketShard, tail_of
from bigearthnet.store.s3.lock import Lease
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed
from bigearthnet.store.s3.publish import Parts, commit, is_in_place, is_own, read_bucket_card
from bigearthnet.store.s3.tiles import SHARDS, TileStore
from bigearthnet.tile.convert import IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, MadeTile
from bigearthnet.work.workspace import Workspace


class BucketDestination:
    """A dataset in a bucket."""

    folder: Path | None = None

    def __init__(self, bucket: Bucket, workspace: Workspace) -> None:
        self._bucket = bucket
        self._workspace = workspace
        self._tiles = TileStore(bucket)
        self._digests = {shard: JoinedDigest(bucket) for shard in SHARDS}
        self._sent: set[str] = set()
        self._lease: Lease | None = None

    def __str__(self) -> str:
        return str(self._bucket.place)

    @contextmanager
    def hold(self, run: str) -> Iterator[None]:
        """Hold the place, and clear away what killed runs left half uploaded; see `bucket_lock.hold`."""
        with bucket_lock.hold(self._bucket, run) as lease:
            self._bucket.sweep(is_own)
            self._lease = lease
            yield

    def find(self, job: Job) -> Done | None:
        """What an earlier run made of a tile, if all of it is in the bucket."""
        return self._tiles.find(job)

    def keep(self, job: Job, done: Done, work: Work) -> None:
        """Upload what was made of the next tile, and remove its shards from the disk.

        One that is in the bucket already is only noted, as its turn in the zips has come.
        """
        folder = self._workspace.tile(job.key)
        if job.key not in work.kept and job.key not in self._sent:
            self._check()
            self._tiles.keep(job, done, folder, _of_tile(work))
            self._sent.add(job.key)
        for shard in SHARDS:
            if (folder / shard).exists():
                self._digests[shard].add_file(job.key, folder / shard)
            else:
                self._digests[shard].add_object(job.key, self._tiles.shard(job, done.made, shard))
        for shard in SHARDS:
            (folder / shard).unlink(missing_ok=True)

    def drop(self, work: Work) -> None:
        """Remove what is kept of a run's tiles."""
        self._tiles.drop(job.key for job in work.jobs)

    def publish(self, making: Making, work: Work, metadata: Metadata | None, say: Say) -> Card:
        """Put the dataset together on the server, and let it take its place."""
        card = self.card()
        same = card is not None and card.digest == digest(making)
        if card is not None and same and not self.missing(card):
            say(f"{self}: published already and intact, nothing written")
        else:
            card = self._publish(making, work, metadata, say, card if same else None)
        self._tiles.tidy([job.key for job in work.jobs])
        return card

    def card(self) -> Card | None:
        """The card in the bucket."""
        return read_bucket_card(self._bucket)

    def missing(self, card: Card) -> list[PublishedFile]:
        """The files of a card that are not in the bucket; a request each, and none is read."""
        return [file for file in card.files if not is_in_place(self._bucket, file)]

    def read(self, name: str) -> bytes:
        """The bytes of a small published file.

        Raises:
            ChecksumError: it was removed meanwhile.
        """
        data = self._bucket.read(name)
        if data is None:
            raise ChecksumError(
                f"expected {self._bucket.place.url(name)}, which was just published, found it removed; "
                "run again"
            )
        return data

    def _publish(
        self, making: Making, work: Work, metadata: Metadata | None, say: Say, same: Card | None
    ) -> Card:
        full = work.full(making.tiles)
        for job, made in full:
            self._tiles.bring_rows(job, made, self._workspace.tile(job.key) / ROWS_FILE)
        shards = {shard: [self._shard(job, made, shard) for job, made in full] for shard in SHARDS}
        staging = self._workspace.staging
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        tiles = [StagedTile(made, self._workspace.tile(job.key)) for job, made in full]
        manifest, statistics = stage_manifest(tiles, metadata, staging)
        (staging / PREVIEW).write_bytes(self._preview(making, shards, [made for _, made in full]))
        say(f"Joining the shards of {len(full)} tiles on the server")
        parts = Parts(
            zips={shard: (shards[shard], self._sha256(shard, shards[shard], same)) for shard in SHARDS},
            staged={
                MANIFEST: (staging / MANIFEST, manifest),
                PREVIEW: (staging / PREVIEW, published_file(PREVIEW, staging / PREVIEW)),
            },
            shards=_in_order(shards, [made for _, made in full]),
            metadata=_of_dataset(making),
        )
        card = commit(self._bucket, parts, lambda files: describe(making, statistics, files), self._check)
        shutil.rmtree(staging)
        return card

    def _shard(self, job: Job, made: MadeTile, shard: str) -> BucketShard:
        found = self._tiles.shard(job, made, shard)
        return BucketShard(found, tail_of(self._bucket, found))

    def _sha256(self, shard: str, shards: list[BucketShard], same: Card | None) -> str:
        """Of the zip; a card of the same dataset knows it."""
        if same is not None:
            return next(file.sha256 for file in same.files if file.name == ZIPS[shard])
        return self._digests[shard].finish(shards)

    def _preview(
        self, making: Making, shards: Mapping[str, list[BucketShard]], tiles: list[MadeTile]
    ) -> bytes:
        return preview(
            [made.patches for made in tiles],
            lambda i: open_object(self._bucket, shards[IMAGES_SHARD][i].source),
            lambda i: open_object(self._bucket, shards[MASKS_SHARD][i].source),
            making.rendering.mask_classes,
        )

    def _check(self) -> None:
        if self._lease is None:
            raise ValueError(f"expected {self} to be held")
        self._lease.check()


def _in_order(
    shards: Mapping[str, list[BucketShard]], tiles: list[MadeTile]
) -> list[tuple[Listed, PublishedFile]]:
    """Each shard's object with the file that it is published as, in the order of the card."""
    return [
        (shards[shard][i].source, file)
        for i, made in enumerate(tiles)
        for shard, file in published_shards(made)
    ]


def _of_tile(work: Work) -> dict[str, str]:
    """Metadata of what is made of a tile."""
    return {"source-md5": work.images_md5, "rendering": digest_of(work.rendering.model_dump(mode="json"))}


def _of_dataset(making: Making) -> dict[str, str]:
    """Metadata of what is made of all tiles."""
    return {
        "source-md5": making.source.files[0].md5,
        "parameters": parameters(making.selection, making.rendering).digest,
    }
