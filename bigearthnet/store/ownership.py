"""Names that a store uses for itself, and the marker that says that a folder or prefix is ours."""

import os
import socket
from collections.abc import Iterable
from typing import Final

from bigearthnet.errors import StoreError, plain
from bigearthnet.progress import some

LOCK: Final = ".lock"
MARKER: Final = ".bigearthnet"
"""Written into an empty folder or prefix. Where it is missing, nothing is written, replaced or removed."""
STAGING: Final = ".staging/"
"""Files of a folder that are not complete yet."""
RESUME: Final = ".resume/"
"""Notes about unfinished uploads to a prefix."""
TRIAL: Final = ".trial"
"""A file that is written to try the place out, and removed at once."""
MARKER_TEXT: Final = b"Made by bigearthnet-prefect, which replaces and removes files here.\n"

_FOREIGN: Final = frozenset({"lost+found", ".DS_Store"})  # put there by the system, also into an empty folder


def is_reserved(name: str) -> bool:
    """True for names that `list` leaves out: the store's own, and the system's."""
    return name in {LOCK, MARKER, TRIAL} or name.partition("/")[0] in {*_FOREIGN, STAGING[:-1], RESUME[:-1]}


def require_unused(names: Iterable[str], url: str) -> None:
    """Refuse a place without a marker that holds more than a lock and what the system puts there.

    Raises:
        StoreError: it does; the message has the first of the `names` in it.
    """
    own = {"", LOCK, MARKER, *_FOREIGN}  # the marker, as another run may begin in the same moment
    others = sorted(name for name in names if name.partition("/")[0] not in own)
    if others:
        shown = some([plain(name) for name in others])
        raise StoreError(
            f"cannot write to {url}: it holds files that this program did not put there ({shown}). "
            "Choose an empty or a new one."
        )


def require_name(name: str, url: str) -> None:
    """Refuse a file name that leads out of the store or that the store uses for itself."""
    pieces = name.split("/")
    if {"", ".", ".."} & set(pieces) or "\0" in name or is_reserved(name):
        raise StoreError(f"cannot use {name!r} as the name of a file in {url}.")


def describe_owner(run: str) -> str:
    """The run that has a lock, in this process, as another run names it."""
    return f"run {run} (process {os.getpid()} on {socket.gethostname()})"
