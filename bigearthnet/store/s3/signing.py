"""Presigned links: whoever has one can download an object until the link ends."""

from datetime import UTC, datetime
from email.message import Message
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from botocore.exceptions import ClientError

from bigearthnet.store.s3.prefix import Prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AMAZON: Final = (".amazonaws.com", ".amazonaws.com.cn")


def presigned_url(prefix: Prefix, name: str, minutes: int, download_name: str) -> str:
    """Sign a link; the server is not asked.

    Raises:
        DestinationError, SourceError: there are no credentials to sign with, or they are set to sign by
            another version than 4 (whichever the prefix's `refusal` is).
    """
    request = {"Bucket": prefix.bucket, "Key": prefix.key(name)}
    if download_name:
        request["ResponseContentDisposition"] = _disposition(download_name)
    with prefix.translating("sign a link to", name):
        url = prefix.client.generate_presigned_url("get_object", Params=request, ExpiresIn=minutes * 60)
    if "X-Amz-Date" not in parse_qs(urlsplit(url).query):
        raise prefix.refusal(
            f"cannot sign a link to {prefix.url(name)}: the credentials ask for a version of signatures "
            "other than 4. Remove signature_version from their configuration."
        )
    return url


def bucket_region(prefix: Prefix) -> str | None:
    """Region of the bucket; None if the server is not Amazon's, or does not say."""
    if not str(urlsplit(prefix.client.meta.endpoint_url).hostname).endswith(_AMAZON):
        return None
    response: Any
    with prefix.translating("find the region of"):
        try:
            response = prefix.client.head_bucket(Bucket=prefix.bucket)
        except ClientError as error:  # a refusal names the region, too
            response = error.response
    region: str | None = response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    return region


def credentials_end(client: "S3Client") -> datetime | None:
    """End of a client's credentials; None if they do not end, or do not say."""
    credentials = getattr(client, "_get_credentials", lambda: None)()  # botocore shows them nowhere else
    ends_at = getattr(credentials, "_expiry_time", None)
    return ends_at.astimezone(UTC) if isinstance(ends_at, datetime) else None


def _disposition(file_name: str) -> str:
    """The header Content-Disposition by which a browser saves a download under a name."""
    message = Message()
    message.add_header("Content-Disposition", "attachment", filename=file_name)
    return str(message["Content-Disposition"])
