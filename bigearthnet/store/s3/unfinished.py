"""Multipart uploads that were begun and neither completed nor aborted, which S3 keeps for ever."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from bigearthnet.store.s3.errors import told

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def abort_unfinished(
    client: "S3Client", bucket: str, prefix: str, is_own: Callable[[str], bool], *, but: str | None = None
) -> int:
    """Abort the multipart uploads under a prefix whose keys are one's own, `but` one; returns how many.

    Raises:
        DestinationError, TransferError: as `multipart.Upload`.
    """
    aborted = 0
    for key, upload_id in unfinished(client, bucket, prefix):
        if not is_own(key) or upload_id == but:
            continue
        with (
            told("abort an unfinished upload to", f"s3://{bucket}/{key}"),
            suppress(client.exceptions.NoSuchUpload),
        ):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
            aborted += 1
    return aborted


def unfinished(client: "S3Client", bucket: str, prefix: str) -> list[tuple[str, str]]:
    """Key and id of each unfinished upload under a prefix.

    Raises:
        DestinationError, TransferError: as `multipart.Upload`.
    """
    with told("list the unfinished uploads of", f"s3://{bucket}/{prefix}"):
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        return [(upload["Key"], upload["UploadId"]) for page in pages for upload in page.get("Uploads", [])]
