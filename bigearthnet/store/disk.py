"""Local files: brought to the disk, replaced, their digests noted; the system's errors in plain words."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bigearthnet.errors import BigEarthNetError, SpaceError, StoreError

NEW: Final = ".new"
"""Ending of files that a process writes; the next run removes what a killed one left."""

_DENIED: Final = "permission denied. Give this user the right to it, or choose another path"
_REASONS: Final = {
    errno.EDQUOT: "the disk quota of this user is used up. Free some of it, then run again",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "the file system is read-only. Choose another path",
    errno.ENOLCK: "its file system does not support locks. Choose a folder on a local disk",
    errno.ELOOP: "its symbolic links lead in a circle. Correct them, or choose another path",
    errno.ENOTDIR: "a part of the path is a file, not a folder. Choose another path",
    errno.EEXIST: "a file or a broken link of that name is there. Move it away, or choose another path",
    errno.EISDIR: "there is a folder of that name. Move it away, then run again",
    errno.EXDEV: "its folder is on another disk. Choose a folder that is on one disk",
    errno.ENAMETOOLONG: "the path is too long. Choose a shorter one",
    errno.EFBIG: "the file system or a limit (ulimit -f) does not allow so large a file. Choose another path",
}


@contextmanager
def translate_os_errors(verb: str, path: Path) -> Iterator[None]:
    """Translate errors of the operating system that are raised in the block, which does `verb` to `path`.

    Raises:
        SpaceError: the disk is full, has no inodes left, or the user's quota is used up.
        StoreError: anything else.
    """
    try:
        yield
    except BigEarthNetError:
        raise
    except OSError as error:
        other = f"{error.strerror or error}. Check the disk and the path"
        reason = _full(path) if error.errno == errno.ENOSPC else _REASONS.get(error.errno or 0, other)
        kind = SpaceError if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreError
        raise kind(f"cannot {verb} {path}: {reason}.") from error


def etag_of(status: os.stat_result) -> str:
    """A version of a local file: it changes with its size, its time of change and its inode."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def sync(path: Path) -> None:
    """Bring a file or the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and bring them to the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file whole, in place of any earlier one; only its owner can read it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=NEW)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def known_digest(path: Path, etag: str, notes: Path) -> str | None:
    """Digest (hex) of that version of a file, so that it is read once; None where it was not noted."""
    try:
        noted, _, digest = _note_of(path, notes).read_text(errors="replace").partition(" ")
    except FileNotFoundError:
        return None
    return digest if noted == etag else None


def note_digest(path: Path, etag: str, digest: str, notes: Path) -> None:
    """Note the digest (hex) of a version of a file in a folder, which is made if need be."""
    make_folder(notes)
    replace_file(_note_of(path, notes), f"{etag} {digest}".encode())


def _note_of(path: Path, notes: Path) -> Path:
    return notes / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()


def _full(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    status = os.statvfs(folder if folder.exists() else "/")
    if status.f_files and not status.f_favail:
        return "the file system has no inodes left. Remove some of its many files, then run again"
    return "the disk is full. Free some space on it, then run again"
