"""A record copied into a store, where it can be used as a source."""

from collections.abc import Callable
from dataclasses import replace

from bigearthnet.source.download import FetchedFile, fetch_file, md5_of
from bigearthnet.source.opening import Source
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.source.stored import RECORD, dump_record, read_mirror
from bigearthnet.store.base import Store, StoredFile
from bigearthnet.store.transfer import OnBytes


class Mirror:
    """A store that becomes the mirror of a record: `put` each file, then `finish`.

    Args:
        store: locked by this run; complete, unfinished or empty.
        check: raises BusyError if the lock is not ours any more.

    Raises:
        SourceError: its `record.json` is something else.
    """

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check
        self._published = read_mirror(store)
        self._md5s: dict[str, str] = {}

    def put(self, source: Source, file: RecordFile, on_bytes: OnBytes) -> FetchedFile:
        """Copy a file, unless it is there and right.

        Args:
            source: of the record.
            file: of the record.
            on_bytes: as of `fetch_file`.

        Raises:
            TransferError, ChecksumError, ChangedError, SourceError: as `fetch_file`.
            BusyError: another run has locked the store.
        """

        def checked(count: int) -> None:
            self._check()
            on_bytes(count)

        there = self._store.head(file.name)
        if there is None or there.size != file.size or not self._is_right(source, file, there, checked):
            self._check()
            self._store.delete([RECORD])
            fetched = fetch_file(source, file, self._store, file.name, checked)
        else:
            fetched = FetchedFile(there, self._md5s[file.name], 0)
        self._md5s[file.name] = fetched.md5
        return fetched

    def finish(self, record: Record) -> None:
        """Describe the files that were put in `record.json`, which makes them a mirror.

        Raises:
            BusyError: another run has locked the store.
        """
        files = tuple(replace(file, md5=self._md5s[file.name]) for file in record.files)
        data = dump_record(replace(record, files=files))
        self._check()
        if self._store.read(RECORD) != data:
            self._store.write(RECORD, data)

    def _is_right(self, source: Source, file: RecordFile, there: StoredFile, on_bytes: OnBytes) -> bool:
        """Compare md5s; one that is not known is computed."""
        described = self._published.file(file.name) if self._published else None
        if described is None and file.md5 is None:
            return False  # copying it costs no more than reading both
        expected = file.md5 or md5_of(source.open(file), on_bytes)
        found = described.md5 if described else md5_of(self._store.open(there), on_bytes)
        if found == expected:
            self._md5s[file.name] = expected
            return True
        if described is None or file.md5 is None:
            on_bytes(-file.size)
        return False
