"""Files of a record brought into a store: complete, checked, and going on where an earlier run ended."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial as bind

from bigearthnet.errors import ChangedError, ChecksumError
from bigearthnet.source.opening import Source
from bigearthnet.source.parallel import ONE, Connections, open_file
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.source.stored import RECORD, dump_record, read_mirror
from bigearthnet.store.base import Store, StoredFile
from bigearthnet.store.reader import ResumingReader
from bigearthnet.store.transfer import OnBytes, blocks, complete


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A complete, checked file in a store, its md5 (hex), and the bytes that this run received for it."""

    stored: StoredFile
    md5: str
    received: int


def fetch_file(
    source: Source, file: RecordFile, store: Store, on_bytes: OnBytes, connections: Connections = ONE
) -> FetchedFile:
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
        opener = bind(open_file, source, file, connections=connections, kept=partial.ahead)
        received, md5 = complete(opener, file.size, partial, "md5", on_bytes)
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


def find_file(
    source: Source, file: RecordFile, store: Store, known: str | None, on_bytes: OnBytes
) -> FetchedFile | None:
    """Return a file that is in a store already; None if it is not there, or not the record's.

    Where an md5 is not stated, the file is read: that in the store without a `known` md5, and that of the
    source if the record has none. Without both nothing is read: to copy the file costs no more.
    """
    there = store.head(file.name)
    if there is None or there.size != file.size or not (known or file.md5):
        return None
    md5 = known or md5_of(store.open(there), on_bytes)
    if md5 == (file.md5 or md5_of(source.open(file), on_bytes)):
        return FetchedFile(there, md5, 0)
    if not (known and file.md5):
        on_bytes(-file.size)
    return None


def md5_of(reader: ResumingReader, on_bytes: OnBytes) -> str:
    """Read a file to its end and return its md5 (hex)."""
    digest = hashlib.md5(usedforsecurity=False)
    with reader:
        for block in blocks(reader):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()


class Mirror:
    """A store, locked by this run, that becomes the mirror of a record: `put` each file, then `finish`.

    Raises:
        SourceError: the store's `record.json` is something else.
    """

    def __init__(self, store: Store, connections: Connections = ONE) -> None:
        self._store = store
        self._connections = connections
        described = read_mirror(store)
        self._md5s = {file.name: file.md5 for file in described.files} if described else {}

    def put(self, source: Source, file: RecordFile, on_bytes: OnBytes) -> FetchedFile:
        """Copy a file, unless it is there and right; arguments and errors as of `fetch_file`."""
        copied = find_file(source, file, self._store, self._md5s.get(file.name), on_bytes)
        if copied is None:
            self._store.delete([RECORD])
            copied = fetch_file(source, file, self._store, on_bytes, self._connections)
        self._md5s[file.name] = copied.md5
        return copied

    def finish(self, record: Record) -> None:
        """Describe the files that were put in `record.json`, which makes them a mirror."""
        files = tuple(replace(file, md5=self._md5s[file.name]) for file in record.files)
        data = dump_record(replace(record, files=files))
        if self._store.read(RECORD) != data:
            self._store.write(RECORD, data)


def _require_md5(file: RecordFile, md5: str, remove: Callable[[], None]) -> None:
    if file.md5 not in {None, md5}:
        remove()
        raise ChecksumError(
            f"{file.name} arrived with md5 {md5}, but the record says {file.md5}. It was removed. Run again."
        )
