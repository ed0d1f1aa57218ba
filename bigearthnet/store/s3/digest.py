"""SHA-256 of a zip that a server joins: no byte of it passes here, but each shard did on its way out."""

import hashlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from bigearthnet.store.s3.join import BucketShard, central_reader, tail_of
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed
from bigearthnet.store.s3.reader import BucketReader
from bigearthnet.zips.format import read_tail
from bigearthnet.zips.join import plan_join

_BLOCK_BYTES = 1 << 20


class JoinedDigest:
    """The SHA-256 of the joined zip of shards, which are told of in their order, each once or more often.

    A shard that lies on this disk is read here. One that an earlier run has put into the bucket is read
    from there, but only when it is known that the digest is needed: when a new shard comes after it, or
    at the end.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._digest = hashlib.sha256()
        self._told: set[str] = set()
        self._waiting: deque[Listed] = deque()

    def add_file(self, key: str, path: Path) -> None:
        """The next shard, on this disk; `key` tells it from others."""
        if key in self._told:
            return
        self._catch_up()
        # A copy takes the other's place when it is complete: a try that fails is undone.
        digest = self._digest.copy()
        with path.open("rb") as file:
            left = read_tail(file).central_offset
            file.seek(0)
            while left and (block := file.read(min(left, _BLOCK_BYTES))):
                digest.update(block)
                left -= len(block)
        self._digest = digest
        self._told.add(key)

    def add_object(self, key: str, listed: Listed) -> None:
        """The next shard, in the bucket."""
        if key not in self._told:
            self._waiting.append(listed)
            self._told.add(key)

    def finish(self, shards: Sequence[BucketShard]) -> str:
        """The digest in hexadecimal of the zip of these shards, which are those it was told of."""
        self._catch_up()
        digest = self._digest.copy()
        plan = plan_join([(shard.source.name, shard.tail) for shard in shards])
        for chunk in plan.central_directory(central_reader(self._bucket, shards)):
            digest.update(chunk)
        return digest.hexdigest()

    def _catch_up(self) -> None:
        block = memoryview(bytearray(_BLOCK_BYTES))
        while self._waiting:
            shard = self._waiting[0]
            digest = self._digest.copy()
            with BucketReader(self._bucket, shard, 0, tail_of(self._bucket, shard).central_offset) as reader:
                while count := reader.readinto(block):
                    digest.update(block[:count])
            self._digest = digest
            self._waiting.popleft()
