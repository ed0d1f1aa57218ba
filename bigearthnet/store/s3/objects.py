"""Objects under a prefix of a bucket: looked at, read, written whole or not at all, copied, removed."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final

from botocore.exceptions import ClientError

from bigearthnet.errors import BigEarthNetError, ChecksumError, DestinationError
from bigearthnet.store.s3.errors import Refusal, error_code, told
from bigearthnet.store.s3.multipart import Multipart
from bigearthnet.store.s3.parts import MAX_PART_BYTES, MAX_PARTS, checksum, ranges
from bigearthnet.store.s3.place import Listed, Place, Stored
from bigearthnet.store.s3.unfinished import abort_unfinished

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import PutObjectRequestTypeDef

PUT_LIMIT_BYTES: Final = 256 << 20
"""Up to here a file is one request, which leaves nothing behind and takes no memory: the largest shard has
some 200 MB. AWS advises parts from 100 MB on."""
PART_BYTES: Final = 8 << 20
"""Of a larger file; as much of it is in memory."""

NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})

_BLOCK_BYTES: Final = 1 << 20
_DELETED_AT_ONCE: Final = 1000
_CONTENT_TYPES: Final = {".json": "application/json", ".png": "image/png", ".zip": "application/zip"}
_ABSENT: Final = frozenset({"NoSuchKey", "404"})
_NOT_MET: Final = _ABSENT | {"PreconditionFailed", "412", "ConditionalRequestConflict"}


class ConditionFailedError(BigEarthNetError):
    """An object was not written or removed, as it is not (or no more) in the state that was asked for."""


class Bucket:
    """The objects under a place's prefix, by their names below it.

    Every method can raise what `errors.told` describes: the `refusal` when the server says no, for
    which it names the missing permission, and TransferError when it does not answer.

    Args:
        client: makes the requests; how often it tries is its own affair.
        place: the bucket and the prefix.
        refusal: DestinationError, or SourceError for a bucket that is only read.
    """

    def __init__(self, client: "S3Client", place: Place, refusal: Refusal = DestinationError) -> None:
        self.client = client
        self.place = place
        self.refusal = refusal
        self._is_there = False

    def head(self, name: str) -> Stored | None:
        """The object without its bytes, or None if it is not there."""
        with told("look at", self.place.url(name), self.refusal):
            try:
                answer = self.client.head_object(Bucket=self.place.bucket, Key=self.place.key(name))
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise
            else:
                return Stored(name, answer["ContentLength"], answer["ETag"], answer["Metadata"])
        self._require_bucket()
        return None

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object, or None if it is not there."""
        found = self.read_with_etag(name)
        return None if found is None else found[0]

    def read_with_etag(self, name: str) -> tuple[bytes, str] | None:
        """The bytes of a small object and the ETag they have, or None if it is not there."""
        with told("read", self.place.url(name), self.refusal):
            try:
                answer = self.client.get_object(Bucket=self.place.bucket, Key=self.place.key(name))
            except self.client.exceptions.NoSuchKey:
                return None
            return answer["Body"].read(), answer["ETag"]

    def listing(self, beginning: str = "") -> Iterator[Listed]:
        """The objects whose names begin so, by ascending name."""
        own = len(self.place.key(""))
        with told("list", self.place.url(beginning), self.refusal):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.place.bucket, Prefix=self.place.key(beginning)
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield Listed(item["Key"][own:], item["Size"], item["ETag"])

    def write(
        self,
        name: str,
        data: bytes,
        metadata: Mapping[str, str] = NO_METADATA,
        *,
        only_if_absent: bool = False,
        only_if_etag: str | None = None,
    ) -> str:
        """Write a small object, with its checksum.

        Servers that cannot replace under a condition (501) are asked to remove the object under it, then to
        write one where there is none: of two writers one at most succeeds, but in between there is none.

        Args:
            name: of the object.
            data: its bytes.
            metadata: of the object.
            only_if_absent: write only where there is no object yet.
            only_if_etag: write only over the object with this ETag.

        Returns:
            The ETag.

        Raises:
            ConditionFailedError: the condition is not met, and nothing has changed.
        """
        request = self._put_request(name, data, zlib.crc32(data), metadata)
        if only_if_absent:
            request["IfNoneMatch"] = "*"
        if only_if_etag is not None:
            request["IfMatch"] = only_if_etag
        with told("write", self.place.url(name)):
            try:
                return self.client.put_object(**request)["ETag"]
            except ClientError as error:
                if only_if_etag is not None and error_code(error) == "NotImplemented":
                    return self._replace(name, data, metadata, only_if_etag)
                if (only_if_absent or only_if_etag is not None) and error_code(error) in _NOT_MET:
                    raise self._not_met(name) from None
                raise

    def upload(self, path: Path, name: str, metadata: Mapping[str, str] = NO_METADATA) -> Stored:
        """Write a file of any size, with checksums; memory does not depend on its size.

        A file over 256 MiB goes in parts, one after the other; after any exception the upload is aborted.

        Raises:
            ChecksumError: the file changed meanwhile, or the server holds other bytes.
            OSError: the file cannot be read.
        """
        with path.open("rb") as file:
            size = path.stat().st_size
            if size <= PUT_LIMIT_BYTES:
                etag = self._put_file(file, name, metadata)
            else:
                etag = self._put_parts(file, size, name, metadata)
        return Stored(name, size, etag, metadata)

    def multipart(self, name: str, metadata: Mapping[str, str]) -> Multipart:
        """An object to be written in parts, by the caller."""
        return Multipart(self.client, self.place.bucket, self.place.key(name), metadata, _content_type(name))

    def copy(self, source: str, target: str, metadata: Mapping[str, str] | None = None) -> Stored:
        """Copy an object on the server, in parts where it is over 5 GiB.

        Args:
            source: name of the object.
            target: name of the copy.
            metadata: of the copy; None for that of the object.

        Raises:
            ChecksumError: the object changed meanwhile, or the copy is of another size.
        """
        found = self.head(source)
        if found is None:
            raise self.refusal(f"expected to copy {self.place.url(source)}, found no such object; run again")
        wanted = found.metadata if metadata is None else metadata
        if found.size > MAX_PART_BYTES:
            etag = self._copy_parts(found, target, wanted)
        else:
            etag = self._copy_whole(found, target, wanted)
        return Stored(target, found.size, etag, wanted)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there do not matter."""
        keys = [self.place.key(name) for name in names]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            with told("remove objects of", str(self.place)):
                answer = self.client.delete_objects(
                    Bucket=self.place.bucket,
                    Delete={
                        "Objects": [{"Key": k} for k in keys[start : start + _DELETED_AT_ONCE]],
                        "Quiet": True,
                    },
                )
            for error in answer.get("Errors", []):
                raise DestinationError(
                    f"expected to remove s3://{self.place.bucket}/{error.get('Key')}, "
                    f"found {error.get('Code')}; give these credentials the permission s3:DeleteObject there"
                )

    def delete_if(self, name: str, etag: str) -> None:
        """Remove the object if it still has this ETag; if it is not there, that does not matter.

        Raises:
            ConditionFailedError: it has another one.
        """
        with told("remove", self.place.url(name)):
            try:
                self.client.delete_object(Bucket=self.place.bucket, Key=self.place.key(name), IfMatch=etag)
            except ClientError as error:
                if error_code(error) in _ABSENT:
                    return
                if error_code(error) in _NOT_MET:
                    raise self._not_met(name) from None
                raise

    def sweep(self, is_own: Callable[[str], bool]) -> int:
        """Abort the multipart uploads that killed runs left behind.

        S3 says nothing of an upload but its key and its beginning. So own leftovers are known by this: their
        name is one that this project writes under the prefix, and no run is at work there. The second is the
        caller's to see to: hold the place's lease, and sweep before the first upload.

        Args:
            is_own: whether this project writes an object of that name.

        Returns:
            How many were aborted.
        """
        own = len(self.place.key(""))
        return abort_unfinished(
            self.client, self.place.bucket, self.place.key(""), lambda key: is_own(key[own:])
        )

    def _require_bucket(self) -> None:
        """A HEAD does not tell a missing bucket from a missing object; asked once."""
        if self._is_there:
            return
        with told("find the bucket of", str(self.place), self.refusal):
            try:
                self.client.head_bucket(Bucket=self.place.bucket)
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise
                raise self.refusal(
                    f"expected the bucket of {self.place}, found none of the name {self.place.bucket}; "
                    "create the bucket, or correct its name"
                ) from None
        self._is_there = True

    def _replace(self, name: str, data: bytes, metadata: Mapping[str, str], etag: str) -> str:
        found = self.head(name)
        if found is None or found.etag != etag:
            raise self._not_met(name)
        self.delete_if(name, etag)
        return self.write(name, data, metadata, only_if_absent=True)

    def _put_request(
        self, name: str, body: bytes | BinaryIO, crc32: int, metadata: Mapping[str, str]
    ) -> "PutObjectRequestTypeDef":
        return {
            "Bucket": self.place.bucket,
            "Key": self.place.key(name),
            "Metadata": dict(metadata),
            "ContentType": _content_type(name),
            "Body": body,
            "ChecksumCRC32": checksum(crc32),
        }

    def _put_file(self, file: BinaryIO, name: str, metadata: Mapping[str, str]) -> str:
        crc32 = 0
        while block := file.read(_BLOCK_BYTES):
            crc32 = zlib.crc32(block, crc32)
        file.seek(0)
        request = self._put_request(name, file, crc32, metadata)
        with told("write", self.place.url(name)):
            return self.client.put_object(**request)["ETag"]

    def _put_parts(self, file: BinaryIO, size: int, name: str, metadata: Mapping[str, str]) -> str:
        part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
        with self.multipart(name, metadata) as upload:
            while data := file.read(part_bytes):
                upload.send(data)
            if upload.size != size:
                raise ChecksumError(
                    f"expected {size} bytes of {self.place.url(name)}, found {upload.size} in the file at "
                    "its end; it changed while it was uploaded, run again"
                )
            return upload.complete()

    def _copy_whole(self, source: Stored, target: str, metadata: Mapping[str, str]) -> str:
        with told(f"copy {self.place.url(source.name)} to", self.place.url(target)):
            answer = self.client.copy_object(
                Bucket=self.place.bucket,
                Key=self.place.key(target),
                CopySource={"Bucket": self.place.bucket, "Key": self.place.key(source.name)},
                CopySourceIfMatch=source.etag,
                MetadataDirective="REPLACE",
                Metadata=dict(metadata),
                ContentType=_content_type(target),
            )
            etag = answer["CopyObjectResult"]["ETag"]
        copied = self.head(target)
        if copied is None or copied.size != source.size:
            self.delete([target])
            raise ChecksumError(
                f"expected {source.size} bytes at {self.place.url(target)}, copied from {source.name}, found "
                f"{copied.size if copied else 'none'}; the copy is removed, run again"
            )
        return etag

    def _copy_parts(self, source: Stored, target: str, metadata: Mapping[str, str]) -> str:
        with self.multipart(target, metadata) as upload:
            for start, stop in ranges(0, source.size, MAX_PART_BYTES):
                upload.copy(self.place.key(source.name), source.etag, start, stop)
            return upload.complete()

    def _not_met(self, name: str) -> ConditionFailedError:
        return ConditionFailedError(f"expected {self.place.url(name)} unchanged, found that another wrote it")


def _content_type(name: str) -> str:
    """Fixed here: what the standard library says depends on the machine."""
    return _CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream")
