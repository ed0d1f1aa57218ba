"""The objects below a prefix of a bucket: single requests, with their errors translated."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from bigearthnet.errors import StoreError
from bigearthnet.store import ownership
from bigearthnet.store.base import StoredFile
from bigearthnet.store.reader import SMALL_BYTES
from bigearthnet.store.s3.translate import ABSENT, error_code, translate_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DELETE_LIMIT: Final = 1000  # of one request
_CONTENT_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".zip": "application/zip",
}


@dataclass(frozen=True, slots=True)
class SmallObject:
    """An object that was read whole."""

    data: bytes
    etag: str
    age_seconds: float
    """Since it was written, by the server's clock."""


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object that was looked up: size in bytes, ETag and metadata."""

    size: int
    etag: str
    metadata: Mapping[str, str]


class Prefix:
    """A prefix of a bucket, without slashes at its ends; empty for the whole bucket.

    The client retries its requests.
    """

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self.client = client
        self.bucket = bucket
        self.check_lock: Callable[[], None] = lambda: None
        """Raises if the lock was lost."""
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket_exists = False
        self._is_ours = False

    def __str__(self) -> str:
        return self.url("").rstrip("/")

    def key(self, name: str) -> str:
        """Key of the object of that name."""
        return self._prefix + name

    def name(self, key: str) -> str:
        """Name of the object with that key."""
        return key[len(self._prefix) :]

    def url(self, name: str) -> str:
        """`s3://bucket/prefix/name`."""
        return f"s3://{self.bucket}/{self.key(name)}"

    def at(self, name: str) -> Any:
        """`Bucket` and `Key` of a request."""
        return {"Bucket": self.bucket, "Key": self.key(name)}

    def translating(self, verb: str, name: str = "") -> AbstractContextManager[None]:
        """Translate botocore errors raised in the block; see `translate_errors`."""
        return translate_errors(verb, self.url(name))

    def require_ours(self) -> None:
        """Make sure, before anything is written, that the prefix and its lock are ours.

        It is ours if it has our marker, or if it is empty; then it gets the marker.

        Raises:
            StoreError: it holds files and no marker.
            BusyError: the lock was lost.
        """
        if not self._is_ours and self.head(ownership.MARKER) is None:
            ownership.require_unused((file.name for file in islice(self.list(), 10)), str(self))
            self.put(ownership.MARKER, ownership.MARKER_TEXT)
        self._is_ours = True
        self.check_lock()

    def head(self, name: str) -> FoundObject | None:
        """Look an object up; None if it is not there."""
        with self.translating("look up", name):
            try:
                found = self.client.head_object(**self.at(name))
                return FoundObject(found["ContentLength"], found["ETag"], found["Metadata"])
            except ClientError as error:
                if error_code(error) not in ABSENT:
                    raise
            if not self._bucket_exists:  # a HEAD does not tell a missing bucket from a missing object
                self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.key(name), MaxKeys=1)
                self._bucket_exists = True
        return None

    def get(self, name: str) -> SmallObject | None:
        """Read a small object in one request; None if it is not there."""
        with self.translating("read", name):
            try:
                response = self.client.get_object(**self.at(name))
            except self.client.exceptions.NoSuchKey:
                return None
            now = parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
            # Dates of HTTP are in GMT, also where a server does not say so. Below 0 where it rounds up.
            age = (now.replace(tzinfo=UTC) - response["LastModified"].replace(tzinfo=UTC)).total_seconds()
            return SmallObject(response["Body"].read(SMALL_BYTES), response["ETag"], max(age, 0))

    def put(self, name: str, data: bytes, **parameters: Any) -> str:
        """Write an object in one request, with more parameters of `PutObject`; returns its ETag."""
        kind = content_type(name)
        with self.translating("write", name):
            return self.client.put_object(**self.at(name), Body=data, ContentType=kind, **parameters)["ETag"]

    def list(self, beginning: str = "") -> Iterator[StoredFile]:
        """Yield the objects whose names begin with `beginning`, in ascending order of names."""
        with self.translating("list", beginning):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.key(beginning)
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield StoredFile(self.name(item["Key"]), item["Size"], item["ETag"])

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are skipped."""
        objects: Any = [{"Key": self.key(name)} for name in names]
        for start in range(0, len(objects), _DELETE_LIMIT):
            with self.translating("remove objects of"):
                response = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": objects[start : start + _DELETE_LIMIT], "Quiet": True},
                )
            for error in response.get("Errors", []):
                raise StoreError(
                    f"cannot remove s3://{self.bucket}/{error.get('Key')}: S3 answered {error.get('Code')}. "
                    "Give these credentials the permission s3:DeleteObject there."
                )


def content_type(name: str) -> str:
    """Fixed here: what the standard library says depends on the machine."""
    return _CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream")
