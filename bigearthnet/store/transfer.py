"""Complete a partial file from a reader, and know its digest."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Final, Literal

from bigearthnet.errors import ChangedError
from bigearthnet.store.base import Partial
from bigearthnet.store.reader import ResumingReader

BLOCK_BYTES: Final = 256 << 10
"""Read and written at once; larger blocks are not faster."""

OnBytes = Callable[[int], None]
OpenAt = Callable[[int, str | None], ResumingReader]
"""Opens a file at a byte, given the version that earlier bytes came from; raises ChangedError for others."""


def complete(
    open_at: OpenAt, size: int, partial: Partial, algorithm: Literal["md5", "sha256"], on_bytes: OnBytes
) -> tuple[int, str | None]:
    """Write the bytes that are missing of a file; all of them if it changed since the partial was begun.

    `on_bytes` is called with the size of each block, also of those that were there; with a negative number
    when bytes are fetched again.

    Returns:
        Bytes received, and the digest (hex) of the file; None where the store cannot read earlier bytes back.
    """
    start, digest = partial.position, hashlib.new(algorithm, usedforsecurity=False)
    held = partial.held() if start else ()
    if held is None:
        on_bytes(start)
    for block in held or ():
        digest.update(block)
        on_bytes(len(block))

    def counted(reader: ResumingReader) -> Iterator[memoryview]:
        for block in blocks(reader):
            yield block
            digest.update(block)
            on_bytes(len(block))

    try:
        reader = open_at(start, partial.validator).begin()
    except ChangedError:
        if not start:
            raise
        on_bytes(-start)
        partial.restart(None)
        return complete(open_at, size, partial, algorithm, on_bytes)
    with reader:
        if not start:
            partial.restart(reader.validator)
        partial.append(counted(reader))
    return size - start, None if held is None else digest.hexdigest()


def blocks(reader: ResumingReader) -> Iterator[memoryview]:
    """Yield the bytes of a reader, each block in the same buffer."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while count := reader.readinto(buffer):
        yield buffer[:count]
