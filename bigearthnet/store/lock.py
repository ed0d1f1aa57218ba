"""One run at a time in a folder, by a lock of the operating system that dies with its process."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bigearthnet.errors import BusyError, DestinationError

LOCK_FILE = ".lock"


@contextmanager
def hold(folder: Path, what: str, run: str) -> Iterator[None]:
    """Hold `folder` (made if need be) until the block ends.

    Args:
        folder: the folder to hold.
        what: what it is to the person, for messages: "work folder", "destination".
        run: name of the run that holds it, shown to a run that comes second.

    Raises:
        BusyError: another process holds it; the message says which.
        DestinationError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise DestinationError(
            f"expected to be able to write the {what} {folder}, found: {error.strerror}; "
            "choose another one or give this user the right to write there"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(
                f"expected the {what} {folder} to be free, found it held by {_holder(file.read())}; "
                "wait until that run has ended, or cancel it, then run again"
            ) from None
        file.truncate(0)
        json.dump({"run": run, "process": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> str:
    """Who wrote the lock; a holder that has only just begun may not have written yet."""
    try:
        holder = json.loads(text)
        return f"run {holder['run']} (process {holder['process']} on {holder['host']})"
    except (ValueError, KeyError, TypeError):
        return "another run"
