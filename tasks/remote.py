"""Where a record's files are opened from."""

from bigearthnet.errors import SourceError
from bigearthnet.source.old.opening import Remote
from bigearthnet.store.s3.objects import Bucket
from tasks import policy
from tasks.buckets import open_bucket


def remote(aws_credentials: str) -> Remote:
    """Opens files of records; a client for a bucket is made when the first file in one is opened.

    Args:
        aws_credentials: name of an `AwsCredentials` block; empty: boto3's own chain.
    """
    return Remote(policy.http(), lambda url: source_bucket(url, aws_credentials))


def source_bucket(url: str, aws_credentials: str) -> Bucket:
    """The place in a bucket that is only read from; nothing is asked of the server yet.

    Raises:
        CredentialsError: there is no such block.
        SourceError: it is no such place.
    """
    return open_bucket(url, aws_credentials, SourceError)
