"""A store in a folder of this machine."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Final

from bigearthnet.errors import ChangedError, StoreError
from bigearthnet.store import ownership
from bigearthnet.store.base import Piece, Range, Staged, StoredFile
from bigearthnet.store.disk import (
    NEW,
    etag_of,
    known_digest,
    make_folder,
    note_digest,
    replace_file,
    sync,
    translate_os_errors,
)
from bigearthnet.store.folder_lock import FolderLock, lock_folder
from bigearthnet.store.folder_partial import FolderPartial
from bigearthnet.store.reader import Opened, ResumingReader, read_small
from bigearthnet.store.transfer import blocks

_PART: Final = ".part"  # ending of a file that the next run goes on with; before it, a key of its version
_AHEAD: Final = ".ahead"  # ending of a folder with what arrived before its turn
_KEY_DIGITS: Final = 16
_DRAFT_SECONDS: Final = 3600  # a note is written in milliseconds


class FolderStore:
    """Files in a folder, which is made when it is first written to; see `Store` for the methods.

    Files are written in `.staging/` and renamed when they are complete and on the disk.
    """

    def __init__(self, root: Path) -> None:
        if "\0" in str(root):
            raise StoreError(f"cannot use {str(root)!r} as a folder: its name holds a NUL character.")
        self._root = root
        self._staging = root / ownership.STAGING
        self._notes = self._staging / "digests"

    @property
    def url(self) -> str:
        return str(self._root)

    @property
    def folder(self) -> Path:
        return self._root

    def head(self, name: str) -> StoredFile | None:
        path = self._path(name)
        with translate_os_errors("look up", path):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _stored(name, status) if stat.S_ISREG(status.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        def fail(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        names: list[str] = []
        top = self._root / prefix.rpartition("/")[0]
        with translate_os_errors("list", top):
            for folder, folders, files in os.walk(top, onerror=fail):
                if folder == str(self._root):
                    folders[:] = [name for name in folders if not ownership.is_reserved(name)]
                names += [(Path(folder) / name).relative_to(self._root).as_posix() for name in files]
        for name in sorted(names):
            if name.startswith(prefix) and not ownership.is_reserved(name):
                file = self.head(name)
                if file is not None:
                    yield file

    def digest(self, file: StoredFile) -> str | None:
        path = self._path(file.name)
        with translate_os_errors("read", self._notes):
            known = known_digest(path, file.etag, self._notes)
        if known is None:
            with self.open(file) as reader:
                known = hashlib.file_digest(reader, "sha256").hexdigest()
            self._note(path, file.etag, known)
        return known

    def open(self, file: StoredFile, start: int = 0, stop: int | None = None) -> ResumingReader:
        stop = file.size if stop is None else min(stop, file.size)
        return ResumingReader(partial(self._open_at, file), str(self._path(file.name)), start, stop)

    def read(self, name: str) -> bytes | None:
        file = self.head(name)
        return None if file is None else read_small(self.open(file), file.size)

    def write(self, name: str, data: bytes, *, create: bool = False) -> StoredFile:
        if create and self.head(name) is not None:
            raise ChangedError(f"{self._path(name)} was written meanwhile. Run again.")
        with self._staged(name, lambda path: path.write_bytes(data)) as staged:
            return staged.commit()

    def upload(self, path: Path, name: str) -> StoredFile:
        with self._staged(name, partial(_link_or_copy, path)) as staged:
            return staged.commit()

    @contextmanager
    def stage(self, name: str, pieces: Sequence[Piece], sha256: str) -> Iterator[Staged]:
        with self._staged(name, partial(self._join, pieces)) as staged:
            self._note(self._path(name), etag_of(self._staged_path(name, NEW).stat()), sha256)
            yield staged

    def resume(self, name: str, size: int, version: str) -> FolderPartial:
        target = self._prove(name)
        key = hashlib.sha256(f"{size} {version}".encode()).hexdigest()[:_KEY_DIGITS]
        part, ahead = (self._staged_path(name, f".{key}{ending}") for ending in (_PART, _AHEAD))
        with translate_os_errors("remove beginnings of", target):
            for path in [*self._staging.glob(f"*{_PART}"), *self._staging.glob(f"*{_AHEAD}")]:
                if path.stem.rpartition(".")[0] != self._staged_path(name, "").name:
                    continue
                if path.suffix == _AHEAD and path != ahead:
                    shutil.rmtree(path)
                elif path.suffix == _PART and (path != part or path.stat().st_size > size):
                    path.unlink()
        return FolderPartial(part, ahead, size, lambda path: self._move(path, name, target))

    def delete(self, names: Iterable[str]) -> None:
        """Remove files, and folders that are empty then."""
        paths = [self._path(name) for name in names]
        for path in paths:
            with translate_os_errors("remove", path), suppress(FileNotFoundError):
                self._claim()
                path.unlink()
        for folder in {path.parent for path in paths}:
            with translate_os_errors("remove files of", folder), suppress(FileNotFoundError):
                sync(folder)
            with suppress(OSError):  # it is not empty; the store's own folder never is
                os.removedirs(folder)

    def try_out(self, *, joins: bool) -> None:  # noqa: ARG002 - a folder joins by copying
        target, staged = self._root / ownership.TRIAL, self._staging / f"trial{NEW}"
        with translate_os_errors("use", self._root):
            self._claim()
            make_folder(self._staging)
            try:
                replace_file(staged, ownership.MARKER_TEXT)
                staged.replace(target)
                sync(self._root)
                target.read_bytes()
            finally:
                for path in (staged, target):
                    path.unlink(missing_ok=True)

    @contextmanager
    def lock(self, run: str) -> Iterator[FolderLock]:
        is_new = not self._root.exists()
        with translate_os_errors("lock", self._root):
            self._claim()
        with lock_folder(self._root / ownership.LOCK, run) as lock:
            with translate_os_errors("lock", self._root):
                sync(self._root)  # a killed run may have renamed the card without bringing it to the disk
            for path in [*self._staging.glob(f"*{NEW}"), *self._dead_drafts()]:  # left by killed runs
                with translate_os_errors("remove", path):
                    path.unlink(missing_ok=True)
            try:
                yield lock
            finally:
                if is_new:
                    self._remove_unused()

    def _dead_drafts(self) -> Iterator[Path]:
        """Yield drafts of notes that nobody writes any more; readers without the lock write some, too."""
        now = (self._root / ownership.LOCK).stat().st_mtime  # just written, by the clock of the same disk
        for path in self._notes.glob(f".*{NEW}"):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > _DRAFT_SECONDS:
                    yield path

    def _path(self, name: str) -> Path:
        ownership.require_name(name, self.url)
        return self._root / name

    def _staged_path(self, name: str, suffix: str) -> Path:
        return self._staging / (name.replace("%", "%25").replace("/", "%2F") + suffix)

    def _open_at(self, file: StoredFile, position: int) -> Opened:
        path = self._path(file.name)
        with translate_os_errors("read", path):
            try:
                body = _Body(path, file.etag)
            except FileNotFoundError:
                raise _changed(path) from None
            body.seek(position)
        return Opened(body, position)

    def _claim(self) -> None:
        """Make sure that the folder is ours: it has our marker, or it is empty and gets it."""
        marker = self._root / ownership.MARKER
        if not marker.exists():
            make_folder(self._root)
            ownership.require_unused((entry.name for entry in self._root.iterdir()), self.url)
            with suppress(FileExistsError), marker.open("xb") as file:  # follows no link, unlike "wb"
                file.write(ownership.MARKER_TEXT)
            sync(self._root)

    def _remove_unused(self) -> None:
        """Remove the folder if a run that failed has put nothing into it."""
        own = {ownership.LOCK, ownership.MARKER, self._staging.name}
        with suppress(OSError):
            if {path.name for path in self._root.iterdir()} <= own:
                if self._staging.exists():
                    self._staging.rmdir()  # fails if something is in it
                for name in (ownership.MARKER, ownership.LOCK):
                    (self._root / name).unlink()
                self._root.rmdir()

    def _prove(self, name: str) -> Path:
        """Make sure that a file can be renamed to its name later; returns its path."""
        target = self._path(name)
        with translate_os_errors("write", target):
            self._claim()
            make_folder(self._staging)
            make_folder(target.parent)
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not os.access(target.parent, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if target.parent.stat().st_dev != self._staging.stat().st_dev:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return target

    @contextmanager
    def _staged(self, name: str, fill: Callable[[Path], object]) -> Iterator[Staged]:
        """A new file that was filled and brought to the disk, removed at the end unless it was moved."""
        target = self._prove(name)
        path = self._staged_path(name, NEW)
        try:
            with translate_os_errors("write", target):
                # What a killed run left may be a link to a file elsewhere: it is never written into.
                path.unlink(missing_ok=True)
                fill(path)
                sync(path)
            yield Staged(path.stat().st_size, partial(self._move, path, name, target))
        finally:
            # Also after a rename: between two links to the same file it does nothing. What cannot be removed,
            # as on a disk that became read-only, is left to the next lock.
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _move(self, path: Path, name: str, target: Path) -> StoredFile:
        with translate_os_errors("write", target):
            path.replace(target)
            sync(target.parent)
            return _stored(name, target.stat())

    def _join(self, pieces: Sequence[Piece], path: Path) -> None:
        with path.open("wb") as target:
            for piece in pieces:
                with self._open_piece(piece) as reader:
                    target.writelines(blocks(reader))

    def _open_piece(self, piece: Piece) -> ResumingReader | BufferedReader:
        if isinstance(piece, Range):
            return self.open(piece.file, piece.start, piece.stop)
        with translate_os_errors("read", piece):
            return piece.open("rb")

    def _note(self, path: Path, etag: str, sha256: str) -> None:
        if (self._root / ownership.MARKER).exists():
            with translate_os_errors("write", self._notes):
                note_digest(path, etag, sha256, self._notes)


class _Body(FileIO):
    """An open file that is checked to be the one that was looked up."""

    def __init__(self, path: Path, etag: str) -> None:
        super().__init__(path)
        self._path = path
        self._etag = etag

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        with translate_os_errors("read", self._path):
            count = super().readinto(buffer)
            if etag_of(os.fstat(self.fileno())) != self._etag:
                raise _changed(self._path)
        return count

    def interrupt(self) -> None:
        """Do nothing: a file is not waited for."""


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or no right to link
        shutil.copyfile(source, target)


def _stored(name: str, status: os.stat_result) -> StoredFile:
    return StoredFile(name, status.st_size, etag_of(status))


def _changed(path: Path) -> ChangedError:
    return ChangedError(f"cannot read {path}: it was changed or removed meanwhile. Run again.")
