"""The lock of a folder: the operating system's, which ends with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from bigearthnet.errors import BusyError, one_line
from bigearthnet.store.disk import translate_os_errors
from bigearthnet.store.ownership import describe_owner

_OWNER_LIMIT: Final = 1000  # characters that are read of who has a lock


class FolderLock:
    """A locked folder."""

    def __init__(self, file: TextIO, path: Path) -> None:
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
        file = path.open("a+", encoding="utf-8", errors="replace")
    with file:
        with translate_os_errors("lock", path):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                # A run that has just begun may not have written yet.
                owner = one_line(file.read(_OWNER_LIMIT)) or "another run"
                raise BusyError(
                    f"{path.parent} is locked by {owner}. "
                    "Wait until that run has ended, or cancel it, then run again."
                ) from None
            file.truncate(0)
            file.write(describe_owner(run))
            file.flush()
        try:
            yield FolderLock(file, path)
        finally:
            file.truncate(0)
