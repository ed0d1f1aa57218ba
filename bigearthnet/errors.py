"""Errors of this package. A message says what happened, where, and what to do."""

from typing import Final

_PLAIN_LIMIT: Final = 300


def plain(said: object) -> str:
    """Return what others wrote, for messages and logs: a line of at most 300 characters, without a full stop.

    Characters that cannot be shown, which could steer a terminal, are written as escapes.
    """
    line = " ".join(str(said)[:_PLAIN_LIMIT].split()).rstrip(".")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


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


class InstallationError(BigEarthNetError, RuntimeError):
    """The libraries that are installed do not do what they should."""


class CredentialsError(BigEarthNetError, ValueError):
    """The named credentials do not exist."""
