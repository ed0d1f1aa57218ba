"""Buckets by the credentials that a person names: a block of prefect-aws, or what boto3 finds by itself."""

import os
from typing import TYPE_CHECKING, Any, cast

from bigearthnet.dataset.destination import Destination, FolderDestination
from bigearthnet.errors import CredentialsError, DestinationError
from bigearthnet.store.s3.destination import BucketDestination
from bigearthnet.store.s3.errors import Refusal
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import parse_place
from bigearthnet.work.workspace import Workspace, folder
from tasks import policy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from prefect_aws import AwsCredentials

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def open_destination(text: str, aws_credentials: str, workspace: Workspace) -> Destination:
    """The folder or the place in a bucket that a person names; raises what `open_bucket` and `folder` do."""
    if "://" in text:
        return BucketDestination(open_bucket(text, aws_credentials), workspace)
    return FolderDestination(folder(text), workspace)


def open_bucket(url: str, aws_credentials: str, refusal: Refusal = DestinationError) -> Bucket:
    """The place in a bucket that `s3://bucket/prefix` names; nothing is asked of the server yet.

    Args:
        url: the place.
        aws_credentials: name of an `AwsCredentials` block; empty: boto3's own chain, instance roles in it.
        refusal: what the bucket raises when the server says no: SourceError where it is only read.

    Raises:
        CredentialsError: there is no such block.
        DestinationError, SourceError: it is no such place (whichever `refusal` is).
    """
    return Bucket(s3_client(aws_credentials), parse_place(url, refusal), refusal)


def s3_client(aws_credentials: str, *, region: str | None = None) -> "S3Client":
    """A client that signs by version 4, and has the patience of the house.

    Args:
        aws_credentials: name of an `AwsCredentials` block; empty: boto3's own chain.
        region: instead of the one that the credentials come with.

    Raises:
        CredentialsError: there is no such block.
    """
    credentials = _load(aws_credentials)
    parameters = credentials.aws_client_parameters
    elsewhere = parameters.endpoint_url or any(os.environ.get(name) for name in _ENDPOINTS)
    patience = policy.PATIENCE
    config: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path" if elsewhere else "virtual"},
        "retries": {"mode": "standard", "total_max_attempts": patience.tries},
        "connect_timeout": patience.connect_seconds,
        "read_timeout": patience.stall_seconds,
    }
    changes: dict[str, Any] = {
        "aws_client_parameters": parameters.model_copy(update={"config": config | (parameters.config or {})})
    }
    if region is not None:
        changes["region_name"] = region
    return credentials.model_copy(update=changes).get_s3_client()


def _load(name: str) -> "AwsCredentials":
    from prefect_aws import AwsCredentials  # noqa: PLC0415 - 20 MiB that a run into a folder does without

    if not name:
        return AwsCredentials()
    try:
        return cast("AwsCredentials", AwsCredentials.load(name))
    except ValueError as error:
        raise CredentialsError(
            f"expected a block AwsCredentials of the name {name!r}, found none on this Prefect server; "
            "save one as the README shows, or leave the name empty to use an instance role"
        ) from error
