"""Errors of this package. A message says what happened, where, and what to do."""

from typing import Final

_SAID_LIMIT: Final = 300


def one_line(said: object) -> str:
    """Return what a library or server says, for a message: a line of at most 300 printable characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(said)[:2000]).split()).rstrip(".")
    return text if len(text) <= _SAID_LIMIT else f"{text[:_SAID_LIMIT]} ..."


class BigEarthNetError(Exception):
    """Base class of all errors that this package raises on purpose."""


class SourceError(BigEarthNetError, ValueError):
    """The source does not hold the dataset; another try gives the same."""


class SelectionError(BigEarthNetError, ValueError):
    """The selection asks for something that the source does not hold."""


class TransferError(BigEarthNetError, ConnectionError):
    """A server did not answer, or stopped in the middle; another try may succeed."""


class ChecksumError(BigEarthNetError, ValueError):
    """A complete file has another checksum than the record states."""


class ChangedError(BigEarthNetError, ValueError):
    """A file was replaced, removed or resized after it was looked up."""


class ArchiveError(BigEarthNetError, ValueError):
    """An archive is damaged, cut off, or not in the published form."""


class PatchError(BigEarthNetError, ValueError):
    """One patch cannot be used; it is rejected and the others go on."""


class RejectedError(BigEarthNetError, ValueError):
    """More patches were rejected than allowed."""


class SpaceError(BigEarthNetError, OSError):
    """The disk has too little free space."""


class StoreError(BigEarthNetError, OSError):
    """A folder or bucket cannot be used: the source, the destination or the work folder."""


class BusyError(BigEarthNetError, RuntimeError):
    """Another run has locked the work folder or the destination."""


class CredentialsError(BigEarthNetError, ValueError):
    """The named credentials do not exist."""
