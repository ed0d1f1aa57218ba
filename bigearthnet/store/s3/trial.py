"""Try on a server what a run will need of it, with one object that is removed again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from botocore.credentials import Credentials, RefreshableCredentials

from bigearthnet.errors import BigEarthNetError, ChangedError, ChecksumError, StoreError
from bigearthnet.store.base import Range, StoredFile
from bigearthnet.store.ownership import TRIAL
from bigearthnet.store.s3.prefix import Prefix
from bigearthnet.store.s3.upload import MIN_PART_BYTES, Upload, abort_upload

_METADATA: Final = {"trial": "kept"}
_MORE: Final = 1 << 10
"""Bytes by which the second part is longer than the first."""

logger = logging.getLogger(__name__)


def try_prefix(prefix: Prefix, *, joins: bool) -> None:
    """Try everything that the stores' methods ask of a server; with `joins` also copies of parts.

    Raises:
        StoreError: something does not work; the message names it.
    """
    prefix.require_ours()
    try:
        _try_objects(prefix)
        _try_upload(prefix)
        if joins:
            _try_joins(prefix)
    except BaseException:
        with suppress(BigEarthNetError):
            prefix.delete([TRIAL])
        raise
    prefix.delete([TRIAL])


def warn_of_end(credentials: Credentials | None) -> None:
    """Log a warning if credentials are temporary and will not be renewed."""
    # Those of variables are "renewed" from the same variables.
    renewed = isinstance(credentials, RefreshableCredentials) and credentials.method != "env"
    if credentials is not None and not renewed and credentials.token:
        ends_at = getattr(credentials, "_expiry_time", None)
        logger.warning(
            "The credentials for S3 are temporary and cannot be renewed: a run fails when they end%s. "
            "For a long run, use a profile, a role or permanent keys.",
            f" at {ends_at:%Y-%m-%d %H:%M %Z}" if ends_at else "",
        )


def _try_objects(prefix: Prefix) -> None:
    with _needing("objects that keep their metadata", prefix):
        prefix.put(TRIAL, b"first", Metadata=_METADATA)
        head, found = prefix.head(TRIAL), prefix.get(TRIAL)
        if head is None or head.metadata != _METADATA or found is None or found.data != b"first":
            raise StoreError(f"{prefix.url(TRIAL)} is not as it was written.")
    with _needing("writes that are refused where the object exists (If-None-Match)", prefix):
        try:
            prefix.put(TRIAL, b"second", IfNoneMatch="*")
        except ChangedError:
            return
        raise StoreError("the server wrote in spite of the condition, so that two runs could lock the place.")


def _try_upload(prefix: Prefix) -> None:
    """Begin an upload, find it again, and abort it."""
    with _needing("multipart uploads that can be listed, continued and aborted", prefix):
        upload_id = Upload(prefix, TRIAL, _METADATA).begin()
        try:
            Upload(prefix, TRIAL, _METADATA).go_on(upload_id)
        finally:
            abort_upload(prefix, TRIAL, upload_id)


def _try_joins(prefix: Prefix) -> None:
    """Join two parts that are copied and one that is sent: each of another length, as shards are."""
    data, tail = bytes(MIN_PART_BYTES + _MORE), b"tail"
    upload = Upload(prefix, TRIAL, _METADATA)
    source = StoredFile(TRIAL, len(data), prefix.put(TRIAL, data))
    upload.begin()
    try:
        with _needing("copies of a range of an object to a part (UploadPartCopy)", prefix):
            for start in (_MORE, 0):
                upload.copy(Range(source, start, len(data)))
        with _needing("parts of different lengths in one object", prefix):
            upload.write(memoryview(tail))
            upload.flush()
            upload.commit()
    finally:
        upload.abort()


@contextmanager
def _needing(what: str, prefix: Prefix) -> Iterator[None]:
    """Say of errors in the block what needs that which does not work."""
    try:
        yield
    except (StoreError, ChangedError, ChecksumError) as error:
        advice = "If its server cannot do that, use another one."
        raise StoreError(f"cannot use {prefix}, as a run needs {what}: {error} {advice}") from error
