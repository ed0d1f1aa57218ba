"""A record copied into a store, where it can be used as a source."""

from dataclasses import replace

from bigearthnet.source.download import FetchedFile, fetch_file, md5_of
from bigearthnet.source.opening import Source
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.source.stored import RECORD, dump_record, read_mirror
from bigearthnet.store.base import Store, StoredFile
from bigearthnet.store.transfer import OnBytes


class Mirror:
    """A store, locked by this run, that becomes the mirror of a record: `put` each file, then `finish`.

    Put large files last: one that an interrupted run has put is read back by the next run.

    Raises:
        SourceError: the store's `record.json` is something else.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        described = read_mirror(store)
        self._known = {file.name: file.md5 for file in described.files} if described else {}
        self._put: dict[str, str] = {}

    def put(self, source: Source, file: RecordFile, on_bytes: OnBytes) -> FetchedFile:
        """Copy a file, unless it is there and right; arguments and errors as of `fetch_file`."""
        there = self._store.head(file.name)
        md5 = self._md5_if_right(source, file, there, on_bytes) if there else None
        if there and md5:
            fetched = FetchedFile(there, md5, 0)
        else:
            self._store.delete([RECORD])
            fetched = fetch_file(source, file, self._store, file.name, on_bytes)
        self._put[file.name] = fetched.md5
        return fetched

    def finish(self, record: Record) -> None:
        """Describe the files that were put in `record.json`, which makes them a mirror."""
        files = tuple(replace(file, md5=self._put[file.name]) for file in record.files)
        data = dump_record(replace(record, files=files))
        if self._store.read(RECORD) != data:
            self._store.write(RECORD, data)

    def _md5_if_right(
        self, source: Source, file: RecordFile, there: StoredFile, on_bytes: OnBytes
    ) -> str | None:
        """Compare md5s, of which at most one is computed; None if they differ or both are unknown."""
        known = self._known.get(file.name)
        if there.size != file.size or not (known or file.md5):
            return None  # without md5s, copying costs no more than reading both
        expected = file.md5 or md5_of(source.open(file), on_bytes)
        if (known or md5_of(self._store.open(there), on_bytes)) == expected:
            return expected
        if not (known and file.md5):
            on_bytes(-file.size)
        return None
