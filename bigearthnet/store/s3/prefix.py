"""The objects below a prefix of a bucket: single requests, with their errors translated."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from botocore.exceptions import ClientError

from bigearthnet.errors import DestinationError
from bigearthnet.store.base import Refusal, StoredFile
from bigearthnet.store.reader import SMALL_BYTES
from bigearthnet.store.s3.translate import ABSENT, NOT_MET, error_code, translate_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})

_DELETE_LIMIT: Final = 1000  # of one request
_CONTENT_TYPES: Final = {".json": "application/json", ".png": "image/png", ".zip": "application/zip"}


class Prefix:
    """A prefix of a bucket, without slashes at its ends; empty for the whole bucket.

    The client retries its requests; `refusal` is the error for one that is refused.
    """

    def __init__(
        self, client: "S3Client", bucket: str, prefix: str, refusal: Refusal = DestinationError
    ) -> None:
        self.client = client
        self.bucket = bucket
        self.refusal = refusal
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket_exists = False

    def __str__(self) -> str:
        return self.url("").rstrip("/")

    def key(self, name: str) -> str:
        """Key of the object of that name."""
        return self._prefix + name

    def url(self, name: str) -> str:
        """`s3://bucket/prefix/name`."""
        return f"s3://{self.bucket}/{self.key(name)}"

    def translating(self, verb: str, name: str = "") -> AbstractContextManager[None]:
        """Translate botocore errors raised in the block; see `translate_errors`."""
        return translate_errors(verb, self.url(name), self.refusal)

    def head(self, name: str) -> "HeadObjectOutputTypeDef | None":
        """Look an object up; None if it is not there."""
        with self.translating("look up", name):
            try:
                return self.client.head_object(Bucket=self.bucket, Key=self.key(name))
            except ClientError as error:
                if error_code(error) not in ABSENT:
                    raise
        if not self._bucket_exists:  # a HEAD does not tell a missing bucket from a missing object
            with self.translating("look up", name):
                self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.key(name), MaxKeys=1)
            self._bucket_exists = True
        return None

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Read a small object in one request; returns its bytes and its ETag, None if it is not there."""
        with self.translating("read", name):
            try:
                response = self.client.get_object(Bucket=self.bucket, Key=self.key(name))
            except self.client.exceptions.NoSuchKey:
                return None
            return response["Body"].read(SMALL_BYTES), response["ETag"]

    def put(self, name: str, data: bytes, metadata: Mapping[str, str] = NO_METADATA) -> str:
        """Write an object in one request; returns its ETag."""
        with self.translating("write", name):
            return self._put(name, data, Metadata=dict(metadata))

    def put_if(
        self, name: str, data: bytes, condition: Literal["IfMatch", "IfNoneMatch"], etag: str
    ) -> str | None:
        """Write an object under a condition; returns its ETag, None if the condition is not met.

        Raises:
            NotImplementedError: the server does not know `IfMatch`.
        """
        with self.translating("write", name):
            try:
                return self._put(name, data, **{condition: etag})
            except ClientError as error:
                if error_code(error) == "NotImplemented" and condition == "IfMatch":
                    raise NotImplementedError from None
                if error_code(error) in ABSENT | NOT_MET:
                    return None
                raise

    def delete_if(self, name: str, etag: str) -> bool:
        """Remove an object unless it has another ETag by now; False if it has."""
        with self.translating("remove", name):
            try:
                self.client.delete_object(Bucket=self.bucket, Key=self.key(name), IfMatch=etag)
            except ClientError as error:
                if error_code(error) in NOT_MET:
                    return False
                if error_code(error) not in ABSENT:
                    raise
        return True

    def list(self, beginning: str = "") -> Iterator[StoredFile]:
        """Yield the objects whose names begin with `beginning`, in ascending order of names."""
        with self.translating("list", beginning):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.key(beginning)
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield StoredFile(item["Key"][len(self._prefix) :], item["Size"], item["ETag"])

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
                raise self.refusal(
                    f"cannot remove s3://{self.bucket}/{error.get('Key')}: S3 answered {error.get('Code')}. "
                    "Give these credentials the permission s3:DeleteObject there."
                )

    def _put(self, name: str, data: bytes, **more: Any) -> str:
        kind = content_type(name)
        return self.client.put_object(
            Bucket=self.bucket, Key=self.key(name), Body=data, ContentType=kind, **more
        )["ETag"]


def content_type(name: str) -> str:
    """Fixed here: what the standard library says depends on the machine."""
    return _CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream")
