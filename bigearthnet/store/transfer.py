"""Complete a partial file from a reader, and know its digest."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol

from bigearthnet.store.base import Partial

BLOCK_BYTES: Final = 256 << 10
"""Read and written at once; larger blocks are not faster."""

OnBytes = Callable[[int], None]


class Readable(Protocol):
    """An open file."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what has arrived; 0 at the end."""


def complete(
    open_at: Callable[[int], AbstractContextManager[Readable]],
    size: int,
    partial: Partial,
    algorithm: Literal["md5", "sha256"],
    on_bytes: OnBytes,
) -> tuple[int, str | None]:
    """Write the bytes that are missing of a file, which `open_at` opens at a byte.

    `on_bytes` is called with the size of each block, also of those that were there.

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

    def counted(reader: Readable) -> Iterator[memoryview]:
        for block in blocks(reader):
            yield block
            digest.update(block)
            on_bytes(len(block))

    with open_at(start) as reader:
        partial.append(counted(reader))
    return size - start, None if held is None else digest.hexdigest()


def blocks(reader: Readable) -> Iterator[memoryview]:
    """Yield the bytes of an open file, each block in the same buffer."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while count := reader.readinto(buffer):
        yield buffer[:count]
