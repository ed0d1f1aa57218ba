"""The lock of a folder: the operating system's, which ends with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from bigearthnet.errors import BusyError, plain
from bigearthnet.store.disk import translate_os_errors
from bigearthnet.store.ownership import describe_owner


class FolderLock:
    """A locked folder."""

    def __init__(self, file: FileIO, path: Path) -> None:
        self._file = file
        self._path = path

    def check(self) -> None:
        """Raise BusyError if the file was removed or replaced: another run may have locked the folder."""
        try:
            ours = os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            ours = False
        if not ours:
            raise BusyError(
                f"lost the lock {self._path}: the file was removed or replaced. "
                "Make sure that no other run works there, then run again."
            )


@contextmanager
def lock_folder(path: Path, run: str) -> Iterator[FolderLock]:
    """Lock a folder by a file in it until the block ends; raise BusyError if another run has it."""
    with translate_os_errors("lock", path):
        # A link that another user put there would lead to a file of this user, which would be emptied.
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        file = os.fdopen(handle, "ab+", buffering=0)  # a buffer that cannot be written fails again at the end
    with file:
        with translate_os_errors("lock", path):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                # One that has just begun may not have written yet.
                owner = plain(file.read(1000).decode(errors="replace")) or "another run"
                raise BusyError(
                    f"{path.parent} is locked by {owner}. "
                    "Wait until that run has ended, or cancel it, then run again."
                ) from None
            file.truncate(0)
            file.write(describe_owner(run).encode())
        try:
            yield FolderLock(file, path)
        finally:
            with suppress(OSError):  # on a disk that has become read-only
                file.truncate(0)
