"""A file of a record brought into a store: complete, checked, and going on where an earlier run ended."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial as bind

from bigearthnet.errors import ChangedError, ChecksumError
from bigearthnet.source.opening import Source
from bigearthnet.source.record import RecordFile
from bigearthnet.store.base import Store, StoredFile
from bigearthnet.store.reader import ResumingReader
from bigearthnet.store.transfer import OnBytes, blocks, complete


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A complete, checked file in a store, its md5 (hex), and the bytes that this run received for it."""

    stored: StoredFile
    md5: str
    received: int


def fetch_file(source: Source, file: RecordFile, store: Store, on_bytes: OnBytes) -> FetchedFile:
    """Bring a file of a record into a store, in place of an earlier one, going on where another run ended.

    A store that cannot read back what an earlier run wrote shows the complete file before it is checked; it
    is then read once and removed if it is wrong. Otherwise the file is not visible before it is checked.
    `on_bytes` is called with the size of each block, also of those that were there, which add up to the
    file's; with a negative number when bytes are fetched or read again.

    Raises:
        TransferError: the source or the store did not answer; the next run goes on from there.
        ChecksumError: the md5 is not the record's; nothing of the file is kept.
        ChangedError: the file changed while it was read; nothing of it is kept.
        SourceError: the source refused the file.
        SpaceError: the disk is full.
    """
    partial = store.resume(file.name, file.size, file.version)
    try:
        received, md5 = complete(bind(source.open, file), file.size, partial, "md5", on_bytes)
    except ChangedError:
        partial.discard()
        raise
    if md5 is not None:
        _require_md5(file, md5, partial.discard)
    stored = partial.commit()
    if md5 is None:
        on_bytes(-file.size)
        md5 = md5_of(store.open(stored), on_bytes)
        _require_md5(file, md5, lambda: store.delete([file.name]))
    return FetchedFile(stored, md5, received)


def md5_of(reader: ResumingReader, on_bytes: OnBytes) -> str:
    """Read a file to its end and return its md5 (hex)."""
    digest = hashlib.md5(usedforsecurity=False)
    with reader:
        for block in blocks(reader):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


def _require_md5(file: RecordFile, md5: str, remove: Callable[[], None]) -> None:
    if file.md5 not in {None, md5}:
        remove()
        raise ChecksumError(
            f"{file.name} arrived with md5 {md5}, but the record says {file.md5}. It was removed. Run again."
        )
