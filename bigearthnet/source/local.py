"""Verified local copies of record files: downloaded into the work folder, or used in place."""

from dataclasses import dataclass, field
from pathlib import Path

from bigearthnet.errors import SourceError
from bigearthnet.options import Transfer
from bigearthnet.source.download import fetch_file, find_file, md5_of
from bigearthnet.source.opening import Source
from bigearthnet.source.parallel import ONE, Connections
from bigearthnet.source.record import RecordFile, SourceFile
from bigearthnet.store.base import Partial, StoredFile
from bigearthnet.store.disk import known_digest, note_digest, translate_os_errors
from bigearthnet.store.folder import FolderStore
from bigearthnet.store.reader import ResumingReader
from bigearthnet.store.transfer import OnBytes
from bigearthnet.work.workspace import Workspace


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A verified file on this machine."""

    path: Path
    file: SourceFile
    _etag: str = field(repr=False)

    def open(self) -> ResumingReader:
        """Open the file; reading raises ChangedError if it was changed or replaced after it was verified."""
        stored = StoredFile(self.file.name, self.file.size, self._etag)
        return FolderStore(self.path.parent).open(stored)


def find_local(source: Source, file: RecordFile, work: Workspace) -> LocalFile | None:
    """Return the local copy of a file if it is known to be right without reading it."""
    store = _folder(source, file, work)
    found = store.head(file.name)
    if found is None or found.size != file.size:
        return None
    path = store.folder / file.name
    md5 = _known_md5(path, found.etag, work)
    if md5 is None or file.md5 not in {None, md5}:
        return None
    return LocalFile(path, file.used(md5), found.etag)


def is_streamed(images: RecordFile, source: Source, work: Workspace) -> bool:
    """Return True if the images' archive is verified while it is read.

    One without a stated md5 is not: nothing could verify a stream of it. Nor is one on this machine whose md5
    is known, or which an earlier run has downloaded.
    """
    if images.md5 is None:
        return False
    if source.folder is None:
        return _folder(source, images, work).head(images.name) is None
    return _known_md5(source.folder / images.name, images.etag, work) is None


def is_stored(images: RecordFile, source: Source, transfer: Transfer) -> bool:
    """Return True if the images' archive comes into the work folder; one without a stated md5 does always."""
    return source.folder is None and (transfer == "keep" or images.md5 is None)


def begin_local(source: Source, file: RecordFile, work: Workspace) -> Partial:
    """Return what an earlier run has downloaded of a file, to go on with it in a stream."""
    return _folder(source, file, work).resume(file.name, file.size, file.version)


def keep_verified(source: Source, file: RecordFile, work: Workspace, partial: Partial | None) -> None:
    """Keep a file that a stream has read to its end, or note that the one in the source's folder is right."""
    if partial is not None:
        etag = partial.commit().etag
    elif source.folder is not None:
        etag = file.etag
    else:
        return
    with translate_os_errors("write", work.md5s):
        note_digest(_folder(source, file, work).folder / file.name, etag, str(file.md5), work.md5s)


def bytes_to_download(source: Source, file: RecordFile, work: Workspace) -> int:
    """Return the bytes of a file that still have to be downloaded."""
    store = _folder(source, file, work)
    if source.folder or store.head(file.name):
        return 0
    return file.size - store.resume(file.name, file.size, file.version).position


def ensure_local(
    source: Source, file: RecordFile, work: Workspace, on_bytes: OnBytes, connections: Connections = ONE
) -> LocalFile:
    """Download a file into the work folder, or compute the md5 of one that is there.

    A file in a local folder is used in place and never changed; a wrong one in the work folder is replaced.
    Arguments and errors as of `fetch_file`; a wrong file in a local folder is a SourceError, as another try
    finds it again.
    """
    store = _folder(source, file, work)
    path = store.folder / file.name
    if source.folder:
        etag, md5 = file.etag, md5_of(source.open(file), on_bytes)
        if file.md5 not in {None, md5}:
            raise SourceError(f"{path} has md5 {md5}, but the record says {file.md5}. Replace the file.")
    else:
        there = find_file(source, file, store, None, on_bytes)
        fetched = there or fetch_file(source, file, store, on_bytes, connections)
        etag, md5 = fetched.stored.etag, fetched.md5
    with translate_os_errors("write", work.md5s):
        note_digest(path, etag, md5, work.md5s)
    return LocalFile(path, file.used(md5), etag)


def _known_md5(path: Path, etag: str, work: Workspace) -> str | None:
    with translate_os_errors("read notes in", work.md5s):
        return known_digest(path, etag, work.md5s)


def _folder(source: Source, file: RecordFile, work: Workspace) -> FolderStore:
    """Return the folder of a local copy: the source's, or one for this version of the file."""
    if source.folder:
        return FolderStore(source.folder)
    return FolderStore(work.archives / file.version)
