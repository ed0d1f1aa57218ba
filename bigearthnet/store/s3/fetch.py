"""A published dataset's files out of a bucket: each goes on where it ended, and is proved by its digest."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bigearthnet.dataset.card import CARD, PublishedFile, parse_card
from bigearthnet.dataset.fetch import Edition
from bigearthnet.errors import ChecksumError, SourceError
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Stored
from bigearthnet.store.s3.reader import BucketReader

_BLOCK_BYTES: Final = 128 << 10  # the reader gives no more at once


def read_edition(bucket: Bucket) -> Edition:
    """The dataset that is published in a bucket.

    Raises:
        SourceError: there is none, or its card is no card.
    """
    data = bucket.read(CARD)
    if data is None:
        raise SourceError(
            f"expected a dataset at {bucket.place}, found no {CARD}: it is not published (yet); "
            "check the place, or wait until it is published"
        )
    return Edition(parse_card(data, bucket.place.url(CARD)), data)


def find(bucket: Bucket, name: str, size: int) -> Stored:
    """The object of a published file, by the name and size in bytes that it should have.

    Raises:
        SourceError: it is not there.
        ChecksumError: it is of another size.
    """
    found, url = bucket.head(name), bucket.place.url(name)
    if found is None:
        raise SourceError(f"expected {url}, which the card names, found no such object; publish it again")
    if found.size != size:
        raise ChecksumError(
            f"expected {size} bytes at {url} as the card says, found {found.size}; "
            "it changed since then, publish the dataset again"
        )
    return found


def bring(
    bucket: Bucket,
    file: PublishedFile,
    part: Path,
    *,
    on_bytes: Callable[[int], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Bring a file to `part`, going on from what an earlier try left there.

    Args:
        bucket: where the file lies.
        file: what to bring.
        part: where to; what is there must be of this file. It is there whole and right at the end.
        on_bytes: told of each block, and of those found in `part`, which add up to the file's size.
        sleep: waits that many seconds between tries.

    Raises:
        TransferError: the rest did not come; what came is kept for the next try.
        ChecksumError: it is not the file that the card promises; what came is removed.
        SourceError: the server refuses the file.
        OSError: the disk is full or cannot be written.
    """
    try:
        found = find(bucket, file.name, file.size)
        sha256 = _fill(bucket, found, part, on_bytes, sleep)
        if sha256 != file.sha256:
            raise ChecksumError(
                f"expected {bucket.place.url(file.name)} with SHA-256 {file.sha256} as the card says, found "
                f"{sha256}; what came is removed, fetch it again, or publish the dataset again"
            )
    except ChecksumError:
        part.unlink(missing_ok=True)
        raise


def _fill(
    bucket: Bucket,
    source: Stored,
    part: Path,
    on_bytes: Callable[[int], None],
    sleep: Callable[[float], None],
) -> str:
    """Complete the part; returns its SHA-256."""
    with part.open("a+b") as output:
        output.seek(0)
        digest = hashlib.file_digest(output, "sha256")
        start = output.tell()
        if start > source.size:
            output.truncate(0)
            start, digest = 0, hashlib.sha256()
        on_bytes(start)
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        with BucketReader(bucket, source, start, sleep=sleep) as reader:
            while count := reader.readinto(buffer):
                output.write(buffer[:count])
                digest.update(buffer[:count])
                on_bytes(count)
        output.flush()
        os.fsync(output.fileno())
    return digest.hexdigest()
