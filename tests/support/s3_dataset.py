"""A dataset in a bucket, looked at with boto3 alone, and the block that flows reach the bucket with."""

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bigearthnet.store.s3.objects import Bucket
from prefect_aws import AwsClientParameters, AwsCredentials

from tests.support.published import CARD, Published
from tests.support.s3_server import REGION, S3Server

_blocks = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Home:
    """A place in a bucket, and the name of a block with credentials for it."""

    bucket: Bucket
    block: str

    @classmethod
    def of(cls, server: S3Server, bucket: Bucket, **changes: str) -> Self:
        return cls(bucket, save_block(server, **changes))

    @property
    def url(self) -> str:
        return str(self.bucket.place)

    @property
    def parameters(self) -> dict[str, Any]:
        """Of a flow that publishes there."""
        return {"destination": self.url, "aws_credentials": self.block}

    def names(self, *, hidden: bool = False) -> list[str]:
        """Names of the objects; the lock never counts."""
        names = [listed.name for listed in self.bucket.listing()]
        return [name for name in names if name != ".lock" and (hidden or not name.startswith("."))]

    def read(self, name: str) -> bytes:
        place = self.bucket.place
        return self.bucket.client.get_object(Bucket=place.bucket, Key=place.key(name))["Body"].read()

    def published(self) -> Published:
        return Published({name: hashlib.sha256(self.read(name)).hexdigest() for name in self.names()})

    def bring(self, folder: Path) -> Path:
        """All published objects as files."""
        for name in self.names():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(name))
        return folder

    def is_published(self) -> bool:
        return CARD in self.names()

    def etags(self) -> dict[str, str]:
        """What changes whenever anything is written."""
        place = self.bucket.place
        found = {}
        for name in self.names(hidden=True):
            head = self.bucket.client.head_object(Bucket=place.bucket, Key=place.key(name))
            found[name] = f"{head['ETag']} {head['LastModified']}"
        return found

    def unfinished_uploads(self) -> list[str]:
        answer = self.bucket.client.list_multipart_uploads(Bucket=self.bucket.place.bucket)
        return [upload["Key"] for upload in answer.get("Uploads", [])]


def save_block(
    server: S3Server, *, url: str | None = None, access_key: str | None = None, secret_key: str | None = None
) -> str:
    """Save a block on the Prefect server of the tests; returns its name."""
    name = f"block-{next(_blocks)}"
    block = AwsCredentials(
        aws_access_key_id=access_key or server.access_key,
        aws_secret_access_key=secret_key or server.secret_key,
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=url or server.url),
    )
    block.save(name, overwrite=True)
    return name
