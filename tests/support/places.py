"""Places of each kind for the tests of stores: opened by the project, and looked at without it."""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from moto import mock_aws

from bigearthnet.store import FolderStore
from bigearthnet.store.s3 import S3Store
from tests.support.s3_server import S3Server, memory_folder, running, session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_names = itertools.count(1)


@dataclass
class FolderPlace:
    """A folder that is empty at first."""

    root: Path

    def open(self) -> FolderStore:
        """Open it by the project, as another run does."""
        return FolderStore(self.root / "store")

    def put(self, name: str, data: bytes) -> None:
        """Write a file without the project, which the following methods do without as well."""
        path = self.root / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, name: str) -> None:
        (self.root / "store" / name).unlink()

    def files(self) -> dict[str, bytes]:
        """All files, also the hidden ones."""
        top = self.root / "store"
        return {p.relative_to(top).as_posix(): p.read_bytes() for p in top.rglob("*") if p.is_file()}

    def unfinished(self) -> list[str]:
        """Names that bytes wait for."""
        own = (".staging/", ".staging/digests/")
        return sorted(
            name for name in self.files() if name.startswith(own[0]) and not name.startswith(own[1])
        )


@dataclass
class BucketPlace:
    """The same in a bucket."""

    client: "S3Client"
    bucket: str
    prefix: str = "data/set"

    def open(self) -> S3Store:
        return S3Store(self.client, self.bucket, self.prefix)

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=data)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")

    def files(self) -> dict[str, bytes]:
        answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        keys = [item["Key"] for item in answer.get("Contents", [])]
        objects = [self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys]
        return {key[len(self.prefix) + 1 :]: data for key, data in zip(keys, objects, strict=True)}

    def unfinished(self) -> list[str]:
        answer = self.client.list_multipart_uploads(Bucket=self.bucket)
        return [upload["Key"].removeprefix(f"{self.prefix}/") for upload in answer.get("Uploads", [])]


Place = FolderPlace | BucketPlace


def new_bucket(client: "S3Client", prefix: str = "data/set") -> BucketPlace:
    name = f"bucket-{os.getpid()}-{next(_names)}"
    client.create_bucket(Bucket=name)
    return BucketPlace(client, name, prefix)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real server, until the end of the session."""
    with TemporaryDirectory(prefix="swift-", dir=memory_folder()) as folder, running(Path(folder)) as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> BucketPlace:
    """An empty bucket, and a prefix in it."""
    return new_bucket(s3_server.client())


@contextmanager
def moto_place() -> Iterator[BucketPlace]:
    """In memory; believes any secret and any checksum, `s3_server` does not."""
    with mock_aws():
        config = Config(retries={"mode": "standard", "total_max_attempts": 3})
        keys = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anybody"}
        client = session().client("s3", region_name="us-east-1", config=config, **keys)
        put_server_clock_ahead(BucketPlace(client, ""), 0)  # moto says no time at all
        yield new_bucket(client)


def put_server_clock_ahead(place: BucketPlace, seconds: float) -> None:
    """Let the server say that it is so much later."""

    def change(parsed: dict[str, Any], **_: Any) -> None:
        parsed["ResponseMetadata"]["HTTPHeaders"]["date"] = formatdate(time.time() + seconds, usegmt=True)

    place.client.meta.events.register_last("after-call.s3.GetObject", change)
