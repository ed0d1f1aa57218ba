"""What can go wrong, as types; each message says what was expected, found, where, and what to do."""


class BigEarthNetError(Exception):
    """The family of all errors raised by this package on purpose."""


class SourceError(BigEarthNetError, ValueError):
    """The source is not a record or folder that holds the dataset; asking again gives the same."""


class SelectionError(BigEarthNetError, ValueError):
    """The selection asks for something the source does not hold."""


class TransferError(BigEarthNetError, ConnectionError):
    """The other side did not answer, or not to the end; worth another try later."""


class ChecksumError(BigEarthNetError, ValueError):
    """Bytes arrived whole, but they are not the ones the record promises."""


class ChangedError(BigEarthNetError, ValueError):
    """A file is not the one that was looked up: it was replaced, removed or resized meanwhile."""


class ArchiveError(BigEarthNetError, ValueError):
    """An archive is not what the record says: no zstd, no tar, cut off, or members out of place."""


class PatchError(BigEarthNetError, ValueError):
    """One patch cannot be used; it is rejected with this reason and the others go on."""


class RejectedError(BigEarthNetError, ValueError):
    """More patches were rejected than the person allows."""


class SpaceError(BigEarthNetError, OSError):
    """Too little free disk space for what is about to be written."""


class DestinationError(BigEarthNetError, OSError):
    """The destination or the work folder cannot be written."""


class BusyError(BigEarthNetError, RuntimeError):
    """Another run holds the work folder or the destination."""


class CredentialsError(BigEarthNetError, ValueError):
    """The credentials that the person names are not there."""
