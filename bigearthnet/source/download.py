"""A file of a record brought into a store: complete, checked, and going on where an earlier run ended."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bigearthnet.errors import ChangedError, ChecksumError
from bigearthnet.source.opening import Source
from bigearthnet.source.record import RecordFile
from bigearthnet.store.base import Partial, Store, StoredFile
from bigearthnet.store.reader import ResumingReader

BLOCK_BYTES: Final = 256 << 10
"""Read and written at once; larger blocks are not faster."""

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that is in the store, complete and checked.

    Attributes:
        stored: the file.
        md5: hex.
        received: bytes that this run received for it.
    """

    stored: StoredFile
    md5: str
    received: int


def fetch_file(source: Source, file: RecordFile, store: Store, name: str, on_bytes: OnBytes) -> FetchedFile:
    """Bring a file of a record into a store, going on where an earlier run ended.

    A store that cannot read back what an earlier run wrote shows the complete file before it is checked; it
    is then read once and removed if it is wrong. Otherwise the file is not visible before it is checked.

    Args:
        source: of the record.
        file: of the record.
        store: where the file goes.
        name: of the file in the store; an earlier file is replaced.
        on_bytes: called with the size of each block, also of those that were there. The sizes add up to the
            file's; when bytes are fetched or read again, it is called with a negative number.

    Raises:
        TransferError: the source or the store did not answer; the next run goes on from there.
        ChecksumError: the md5 is not the record's; nothing of the file is kept.
        ChangedError: the file changed while it was read; nothing of it is kept.
        SourceError: the source refused the file.
        SpaceError: the disk is full.
    """
    with store.resume(name, file.size, file.md5) as partial:
        try:
            received, md5 = _complete(source, file, partial, on_bytes)
            if md5 is not None:
                _require_md5(file, md5)
        except (ChecksumError, ChangedError):
            partial.discard()
            raise
        stored = partial.commit()
    if md5 is None:
        on_bytes(-file.size)
        md5 = md5_of(store.open(stored), on_bytes)
        try:
            _require_md5(file, md5)
        except ChecksumError:
            store.delete([name])
            raise
    return FetchedFile(stored, md5, received)


def md5_of(reader: ResumingReader, on_bytes: OnBytes) -> str:
    """Read a file to its end and return its md5 (hex)."""
    digest = hashlib.md5(usedforsecurity=False)
    with reader:
        for block in _blocks(reader):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def _complete(
    source: Source, file: RecordFile, partial: Partial, on_bytes: OnBytes
) -> tuple[int, str | None]:
    """Write what is missing.

    Returns:
        Bytes received, and the md5 of the file; None where what an earlier run wrote cannot be read back.
    """
    start, digest = partial.position, hashlib.md5(usedforsecurity=False)
    held = partial.held() if start else ()
    if held is None:
        on_bytes(start)
    for block in held or ():
        digest.update(block)
        on_bytes(len(block))
    try:
        reader = _begin(source, file, start, partial.validator)
    except ChangedError:
        if not start:
            raise
        on_bytes(-start)
        start, digest, held = 0, hashlib.md5(usedforsecurity=False), ()
        reader = _begin(source, file, 0, None)
    with reader:
        if not start:
            partial.restart(reader.validator)
        for block in _blocks(reader):
            partial.write(block)
            digest.update(block)
            on_bytes(len(block))
    return file.size - start, None if held is None else digest.hexdigest()


def _begin(source: Source, file: RecordFile, start: int, validator: str | None) -> ResumingReader:
    reader = source.open(file, start, validator)
    reader.begin()
    return reader


def _blocks(reader: ResumingReader) -> Iterator[memoryview]:
    """Yield the bytes of a reader, each block in the same buffer."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while count := reader.readinto(buffer):
        yield buffer[:count]


def _require_md5(file: RecordFile, md5: str) -> None:
    if file.md5 not in {None, md5}:
        raise ChecksumError(
            f"{file.name} arrived with md5 {md5}, but the record says {file.md5}. It was removed. Run again."
        )
