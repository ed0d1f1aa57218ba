"""A bucket in memory, for unit tests; it believes any secret and any checksum, `s3_server` does not."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Place
from moto import mock_aws

_ANYBODY = "anybody"


@contextmanager
def moto_bucket(bucket: str = "bucket", prefix: str = "data") -> Iterator[Bucket]:
    """An empty bucket, and a prefix in it, until the end of the block."""
    with mock_aws():
        client = boto3.client(
            "s3", region_name="us-east-1", aws_access_key_id=_ANYBODY, aws_secret_access_key=_ANYBODY
        )
        client.create_bucket(Bucket=bucket)
        yield Bucket(client, Place(bucket, prefix))
