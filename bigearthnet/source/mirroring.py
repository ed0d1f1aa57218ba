"""A record copied into a store, where it can be used as a source."""

from dataclasses import replace

from bigearthnet.source.download import FetchedFile, fetch_file, md5_of
from bigearthnet.source.opening import Source
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.source.stored import RECORD, dump_record, read_mirror
from bigearthnet.store.base import Store
from bigearthnet.store.transfer import OnBytes


class Mirror:
    """A store, locked by this run, that becomes the mirror of a record: `put` each file, then `finish`.

    Raises:
        SourceError: the store's `record.json` is something else.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        described = read_mirror(store)
        self._md5s = {file.name: file.md5 for file in described.files} if described else {}

    def put(self, source: Source, file: RecordFile, on_bytes: OnBytes) -> FetchedFile:
        """Copy a file, unless it is there and right; arguments and errors as of `fetch_file`."""
        there, known = self._store.head(file.name), self._md5s.get(file.name)
        # Without any md5, both files would have to be read: copying costs no more.
        if there is not None and there.size == file.size and (known or file.md5):
            md5 = known or md5_of(self._store.open(there), on_bytes)
            expected = file.md5 or md5_of(source.open(file), on_bytes)
            if md5 == expected:
                self._md5s[file.name] = md5
                return FetchedFile(there, md5, 0)
            if not (known and file.md5):
                on_bytes(-file.size)
        self._store.delete([RECORD])
        fetched = fetch_file(source, file, self._store, on_bytes)
        self._md5s[file.name] = fetched.md5
        return fetched

    def finish(self, record: Record) -> None:
        """Describe the files that were put in `record.json`, which makes them a mirror."""
        files = tuple(replace(file, md5=self._md5s[file.name]) for file in record.files)
        data = dump_record(replace(record, files=files))
        if self._store.read(RECORD) != data:
            self._store.write(RECORD, data)
