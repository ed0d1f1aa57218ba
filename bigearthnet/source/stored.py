"""A record in a store: a mirror, which describes it in `record.json`, or just the archives."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from bigearthnet.errors import ChangedError, SourceError
from bigearthnet.source.record import ARCHIVES, RECORD_FILES, Record, RecordFile, first_error, require_names
from bigearthnet.store.base import Store, StoredFile
from bigearthnet.store.reader import ResumingReader

RECORD: Final = "record.json"
"""Description of a mirror; written last."""

_NAMES_LISTED: Final = 100
_DOCUMENT: Final = TypeAdapter(Record)
_ADVICE: Final = "Run the mirror again, or remove that file if it is something else."


class StoredSource:
    """The archives of a record in a folder or bucket, under their names on Zenodo, with or without metadata.

    Args:
        store: opened for reading, so that its refusals are SourceErrors.
        title: of a record without `record.json`.
    """

    def __init__(self, store: Store, title: str = "") -> None:
        self._store = store
        self._title = title

    @property
    def text(self) -> str:
        """Its path or URL."""
        return self._store.url

    def __str__(self) -> str:
        return self._store.url

    def record(self) -> Record:
        """Return the record that was mirrored; without `record.json`, one of the files that are there."""
        record = read_mirror(self._store)
        if record is not None:
            return replace(record, files=tuple(self._mirrored(file) for file in record.files))
        found = [file for name in RECORD_FILES if (file := self._store.head(name)) is not None]
        names = [file.name for file in found]
        if not set(names) >= set(ARCHIVES):
            listed = [file.name for file in islice(self._store.list(), _NAMES_LISTED)]
            names += [name for name in listed if name not in names]
        require_names(names, str(self), "Put the archives there under their names on Zenodo.")
        return Record("folder", "", "", self._title, tuple(self._file(file, None) for file in found))

    def latest(self) -> Self:
        """Return itself."""
        return self

    def open(self, file: RecordFile, start: int = 0, validator: str | None = None) -> ResumingReader:
        """Open a file at a byte; raises ChangedError at once if it is not the one that was listed."""
        found = self._store.head(file.name)
        if found is None:
            raise ChangedError(f"{file.location} was removed. Run again.")
        if found.size != file.size or file.etag not in {None, found.etag}:
            raise ChangedError(
                f"{file.location} is not the file that was listed: it was replaced. Run again."
            )
        if start and validator != found.etag:
            raise ChangedError(f"{file.location} changed after {start:,} bytes had been read. Run again.")
        return self._store.open(found, start)

    def local_path(self, file: RecordFile) -> Path | None:
        """Return the path of a file in a folder."""
        return None if self._store.folder is None else self._store.folder / file.name

    def _mirrored(self, file: RecordFile) -> RecordFile:
        found = self._store.head(file.name)
        if found is None or found.size != file.size:
            size = "it is not there" if found is None else f"it has {found.size:,}"
            raise SourceError(
                f"{RECORD} in {self} states {file.size:,} bytes of {file.name}, but {size}. "
                "Run the mirror again."
            )
        return self._file(found, file.md5)

    def _file(self, found: StoredFile, md5: str | None) -> RecordFile:
        location = f"{self._store.url.rstrip('/')}/{found.name}"
        return RecordFile(found.name, found.size, md5, location, None if md5 else found.etag)


def read_mirror(store: Store) -> Record | None:
    """Return the record that a store mirrors, without looking at its files; None if it is not a mirror.

    Raises:
        SourceError: its `record.json` is something else.
    """
    data = store.read(RECORD)
    if data is None:
        return None
    place = f"{store.url.rstrip('/')}/{RECORD}"
    try:
        record = _DOCUMENT.validate_json(data, strict=True)
    except ValidationError as error:
        raise SourceError(f"{place} does not describe a mirror ({first_error(error)}). {_ADVICE}") from None
    names = [file.name for file in record.files]
    require_names(names, place, _ADVICE)
    if not set(names) <= set(RECORD_FILES):
        raise SourceError(f"{place} names files that are not of BigEarthNet v2. {_ADVICE}")
    return record


def dump_record(record: Record) -> bytes:
    """Return `record.json` of a record; the same bytes for the same record."""
    left_out = {"files": {"__all__": {"location", "etag"}}}
    return _DOCUMENT.dump_json(record, indent=1, exclude=left_out) + b"\n"
