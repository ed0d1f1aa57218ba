"""What was made of tiles, kept in the bucket until it is published, and found again from any machine.

Below `.tiles/<key>/` lie a tile's shards, its rows and, put last, the list of these. When the dataset is
published the shards are there under their published names, and leave; rows and list stay.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bigearthnet.dataset.publish import shard_name
from bigearthnet.errors import ChecksumError
from bigearthnet.plan.jobs import Done, Job, pack_json, unpack_json
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed
from bigearthnet.store.s3.reader import read_range
from bigearthnet.tile.convert import IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, MadeFile, MadeTile, made_file

TILES: Final = ".tiles/"
SHARDS: Final = (IMAGES_SHARD, MASKS_SHARD)
SHA256: Final = "sha256"
"""In the metadata of every object that is ours: the digest of its bytes. Whoever writes there without
knowing it leaves it out, and S3 itself lets no object change."""
_DONE: Final = "done.json"


class TileStore:
    """The tiles that are kept in a bucket.

    Every method can raise what `errors.told` describes.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._published: dict[str, Listed] = {}

    def find(self, job: Job) -> Done | None:
        """What an earlier run made of the tile, if all of it is in the bucket, staged or published."""
        name = _staged(job.key, _DONE)
        if name not in self._listed:
            return None
        try:
            done = unpack_json(self._bucket.read(name) or b"")
        except ValidationError:  # kept by another edition of this project
            return None
        rows = self._listed.get(_staged(job.key, ROWS_FILE))
        if rows is None or rows.size != done.made.rows.size:
            return None
        return done if all(self._locate(job, done.made, shard) for shard in SHARDS) else None

    def keep(self, job: Job, done: Done, folder: Path, metadata: Mapping[str, str]) -> None:
        """Upload the files of a tile, and the list of them last.

        Args:
            job: the tile.
            done: what was made of it.
            folder: holds the files.
            metadata: of the objects, beside their digests.
        """
        for name, made in _files(done.made).items():
            stored = self._bucket.upload(
                folder / name, _staged(job.key, name), {**metadata, SHA256: made.sha256}
            )
            self._listed[stored.name] = stored
        listing = _staged(job.key, _DONE)
        data = pack_json(done)
        self._listed[listing] = Listed(listing, len(data), self._bucket.write(listing, data))

    def shard(self, job: Job, made: MadeTile, shard: str) -> Listed:
        """A tile's shard, wherever it lies.

        Raises:
            ChecksumError: it is gone.
        """
        found = self._locate(job, made, shard)
        if found is None:
            raise ChecksumError(
                f"expected {shard} of {made.tile} in {self._bucket.place}, found that it was removed "
                "meanwhile; run again"
            )
        return found

    def bring_rows(self, job: Job, made: MadeTile, path: Path) -> None:
        """Have a tile's rows at `path`.

        Raises:
            ChecksumError: the object is not what was put there; it is removed, so that it is made again.
        """
        if path.exists() and made_file(path) == made.rows:
            return
        listed = self._listed[_staged(job.key, ROWS_FILE)]
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.part")
        staged.write_bytes(read_range(self._bucket, listed, 0, listed.size))
        if made_file(staged) != made.rows:
            self.drop([job.key])
            raise ChecksumError(
                f"expected the rows of {made.tile} in {self._bucket.place} with SHA-256 {made.rows.sha256}, "
                "found others; what is kept of the tile is removed, run again: it is made anew"
            )
        staged.replace(path)

    def drop(self, keys: Iterable[str]) -> None:
        """Remove all that is kept of tiles, the list of it first."""
        wanted = set(keys)
        names = [name for name in self._listed if _key(name) in wanted]
        self._remove(sorted(names, key=lambda name: not name.endswith(_DONE)))

    def tidy(self, keys: Collection[str]) -> None:
        """After publishing: shards leave, and so does everything of tiles that are not in the dataset."""
        kept = {_staged(key, name) for key in keys for name in (ROWS_FILE, _DONE)}
        self._remove([name for name in self._listed if name not in kept])

    @cached_property
    def _listed(self) -> dict[str, Listed]:
        return {listed.name: listed for listed in self._bucket.listing(TILES)}

    def _locate(self, job: Job, made: MadeTile, shard: str) -> Listed | None:
        file = _files(made)[shard]
        staged = self._listed.get(_staged(job.key, shard))
        if staged is not None and staged.size == file.size:
            return staged
        name = shard_name(shard, made.tile)
        if name not in self._published:  # looked at once: whoever uses it names the ETag that it had
            found = self._bucket.head(name)
            if found is None or (found.size, found.metadata.get(SHA256)) != (file.size, file.sha256):
                return None
            self._published[name] = found
        return self._published[name]

    def _remove(self, names: Iterable[str]) -> None:
        gone = list(names)
        self._bucket.delete(gone)
        for name in gone:
            del self._listed[name]


def is_tile_object(name: str) -> bool:
    """Whether an object of that name is one of a tile that is kept."""
    key, _, file = name.removeprefix(TILES).partition("/")
    return name.startswith(TILES) and bool(key) and file in {*SHARDS, ROWS_FILE, _DONE}


def _staged(key: str, name: str) -> str:
    return f"{TILES}{key}/{name}"


def _key(name: str) -> str:
    return name.removeprefix(TILES).partition("/")[0]


def _files(made: MadeTile) -> dict[str, MadeFile]:
    return {IMAGES_SHARD: made.images, MASKS_SHARD: made.masks, ROWS_FILE: made.rows}
