"""Sources: what a person names, and what can be read from it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, Self

from bigearthnet.errors import SourceError
from bigearthnet.source.http import Http, safe_url
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.zenodo import ZenodoSource, record_url
from bigearthnet.store.base import Store
from bigearthnet.store.reader import ResumingReader

_FORMS: Final = (
    "Name a Zenodo record (10891137, its URL or DOI), s3://bucket/prefix, or a folder with the archives."
)


class Source(Protocol):
    """A record that can be read. `str()` of it is safe for logs and messages."""

    @property
    def text(self) -> str:
        """What opens it again; can hold a token."""

    @property
    def folder(self) -> Path | None:
        """Where its files can be used in place; None if they must be downloaded."""

    @property
    def seconds_a_request(self) -> float:
        """Least time between two requests."""

    def __str__(self) -> str: ...

    def record(self) -> Record:
        """Look up the record as it is now.

        Raises:
            SourceError: there is none, or not one of BigEarthNet v2.
            TransferError: the server did not answer.
        """

    def latest(self) -> Self:
        """Return the source of the latest version; itself where there are no versions. Errors as `record`."""

    def open(
        self, file: RecordFile, start: int = 0, stop: int | None = None, *, others: bool = False
    ) -> ResumingReader:
        """Open a file at a byte, to its end or up to `stop`.

        With `others`, which read the file at the same time, reading raises LimitedError as soon as a server
        limits them or sends no ranges.

        Raises:
            ChangedError: it is not the file that was listed; can be raised by reading as well.
        """


def open_source(text: str, open_store: Callable[[str], Store]) -> Source:
    """Open what a person names as a source; nothing is read yet.

    Args:
        text: id, URL or DOI of a Zenodo record, URL of a record's JSON, `s3://bucket/prefix`, or a folder.
        open_store: opens a bucket or a folder for reading.

    Raises:
        SourceError: it is none of these, or there is no such folder.
    """
    url = record_url(text)
    if url is not None:
        return ZenodoSource(url, Http())
    if re.match(r"(?!s3://[^/])[a-z][a-z0-9+.-]+:", text.strip(), re.IGNORECASE):
        raise SourceError(f"{safe_url(text.strip())} is not a source. {_FORMS}")
    store = open_store(text)
    if store.folder is not None and not store.folder.is_dir():
        raise SourceError(f"there is no folder {store.folder}. {_FORMS}")
    return StoredSource(store)
