"""A record in a store: a mirror, which describes it in `record.json`, or just the archives."""

import re
from dataclasses import replace
from itertools import islice
from typing import ClassVar, Final, Self

from pydantic import TypeAdapter

from bigearthnet.errors import SourceError
from bigearthnet.source.record import ARCHIVES, RECORD_FILES, Record, RecordFile, parse_json, require_names
from bigearthnet.store.base import Store, StoredFile
from bigearthnet.store.reader import ResumingReader

RECORD: Final = "record.json"
"""Description of a mirror; written last."""

_DOCUMENT: Final = TypeAdapter(Record)


class StoredSource:
    """The archives of a record in a folder or bucket, under their names on Zenodo, with or without metadata.

    Their md5s are those of `record.json`, or of files such as `Reference_Maps.tar.zst.md5`.

    Args:
        store: where they are.
        title: of a record without `record.json`.
    """

    seconds_a_request: ClassVar[float] = 0

    def __init__(self, store: Store, title: str = "") -> None:
        self.text = store.url
        self.folder = store.folder
        self._store = store
        self._title = title

    def __str__(self) -> str:
        return self.text

    def record(self) -> Record:
        """Return the record that was mirrored; without `record.json`, one of the files that are there."""
        mirrored = read_mirror(self._store)
        return self._listed() if mirrored is None else self._located(mirrored)

    def latest(self) -> Self:
        """Return itself."""
        return self

    def open(
        self,
        file: RecordFile,
        start: int = 0,
        stop: int | None = None,
        *,
        others: bool = False,  # noqa: ARG002
    ) -> ResumingReader:
        """Open a file at a byte; reading raises ChangedError if it is not the one that was listed.

        S3 limits requests, not connections: with `others` it is not read in another way.
        """
        return self._store.open(StoredFile(file.name, file.size, file.etag), start, stop)

    def _listed(self) -> Record:
        """Return a record of the archives that are there."""
        found = [file for name in RECORD_FILES if (file := self._store.head(name)) is not None]
        names = {file.name for file in found}
        if not names.issuperset(ARCHIVES):  # then the message says what is there
            names.update(file.name for file in islice(self._store.list(), 100))
        require_names(sorted(names), str(self), "Put the archives there under their names on Zenodo.")
        files = (
            RecordFile(one.name, one.size, self._stated_md5(one.name), self._location(one.name), one.etag)
            for one in found
        )
        return Record("folder", "", "", self._title, tuple(files))

    def _stated_md5(self, name: str) -> str | None:
        """Return what `<name>.md5` says, as md5sum writes it; None without that file."""
        beside = f"{name}.md5"
        data = self._store.read(beside)
        if data is None:
            return None
        match = re.fullmatch(rb"([0-9a-fA-F]{32}) [ *](?:.*/)?([^/\n]+)\s*", data)
        if match is None or match[2].decode(errors="replace").rstrip() != name:
            raise SourceError(
                f"{self._location(beside)} does not state the md5 of {name} as md5sum writes it. Correct or "
                "remove it."
            )
        return match[1].decode().lower()

    def _located(self, mirrored: Record) -> Record:
        """Return the record of a mirror that has all its files."""
        files = []
        for file in mirrored.files:
            found = self._store.head(file.name)
            if found is None or found.size != file.size:
                raise SourceError(f"the files in {self} are not those of its {RECORD}. Run the mirror again.")
            files.append(replace(file, location=self._location(file.name), etag=found.etag))
        return replace(mirrored, files=tuple(files))

    def _location(self, name: str) -> str:
        return f"{self.text.rstrip('/')}/{name}"


def read_mirror(store: Store) -> Record | None:
    """Return the record that a store mirrors, without looking at its files; None if it is not a mirror.

    Raises:
        SourceError: its `record.json` is something else.
    """
    data = store.read(RECORD)
    if data is None:
        return None
    place = f"{store.url.rstrip('/')}/{RECORD}"
    advice = "Run the mirror again, or remove that file if it is something else."
    try:
        record = parse_json(_DOCUMENT, data)
    except ValueError as error:
        raise SourceError(f"{place} does not describe a mirror ({error}). {advice}") from None
    require_names([file.name for file in record.files], place, advice)
    return record


def dump_record(record: Record) -> bytes:
    """Return `record.json` of a record; the same bytes for the same record."""
    left_out = {"files": {"__all__": {"location", "etag"}}}
    return _DOCUMENT.dump_json(record, indent=1, exclude=left_out) + b"\n"
