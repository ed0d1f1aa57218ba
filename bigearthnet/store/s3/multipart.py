"""One object written in parts, each with its checksum: completed only when all are there.

An `Upload` lasts until it is completed or aborted, also beyond its process; a `Multipart` aborts itself.
"""

import logging
import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError

from bigearthnet.errors import ChecksumError, DestinationError
from bigearthnet.store.s3.errors import error_code, told, translated
from bigearthnet.store.s3.parts import MAX_PARTS, Part, checksum, completed_part, composite, whole_parts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


class Upload:
    """A multipart upload, from `begin` or `go_on` to `complete` or `abort`.

    Until `complete`, what was at the key before is untouched.

    Args:
        client: makes the requests.
        bucket: name of the bucket.
        key: of the object.
        metadata: of the object; it is there as soon as the object is.
        content_type: of the object.

    Raises:
        DestinationError: the server refuses, or there are over 10,000 parts (from every method).
        TransferError: the server does not answer (from every method).
    """

    def __init__(
        self, client: "S3Client", bucket: str, key: str, metadata: Mapping[str, str], content_type: str
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._url = f"s3://{bucket}/{key}"
        self._metadata = metadata
        self._content_type = content_type
        self._id: str | None = None
        self._parts: list[Part] = []

    def begin(self) -> str:
        """Begin the upload; returns the id that `go_on` knows it by."""
        with told("begin an upload to", self._url):
            # The algorithm is named here, or AWS would take the parts' checksums for another's.
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                Metadata=dict(self._metadata),
                ContentType=self._content_type,
                ChecksumAlgorithm="CRC32",
            )
            self._id = answer["UploadId"]
        return self._id

    def go_on(self, upload_id: str, size: int, part_bytes: int) -> None:
        """Go on with an upload of `size` bytes, behind those of its parts that are on the server.

        Args:
            upload_id: as `begin` gave it; metadata and content type are those it was begun with.
            size: bytes of the object.
            part_bytes: of each part but the last; parts behind a gap or one of another size are sent anew.
        """
        self._id = upload_id
        self._parts = whole_parts(self._listed(upload_id), size, part_bytes)

    @property
    def size(self) -> int:
        """Bytes of all parts until now."""
        return sum(part.size for part in self._parts)

    def send(self, data: bytes) -> None:
        """Append a part with the bytes of `data`; 5 MiB at least unless it is the last."""
        crc32 = checksum(zlib.crc32(data))
        number = self._next_number()
        with told(f"write part {number} of", self._url):
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._opened(),
                PartNumber=number,
                Body=data,
                ChecksumCRC32=crc32,
            )
            self._parts.append(Part(len(data), answer["ETag"], crc32))

    def copy(self, key: str, etag: str, start: int, stop: int) -> None:
        """Append bytes `start` to `stop` of another object of the bucket, on the server.

        Raises:
            ChecksumError: the object's ETag is another one.
        """
        number = self._next_number()
        with told(f"copy s3://{self._bucket}/{key} to part {number} of", self._url):
            answer = self._client.upload_part_copy(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._opened(),
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": key},
                CopySourceRange=f"bytes={start}-{stop - 1}",
                CopySourceIfMatch=etag,
            )["CopyPartResult"]
            self._parts.append(Part(stop - start, answer["ETag"], answer.get("ChecksumCRC32")))

    def complete(self) -> str:
        """Let the object come into being, after a look at all its parts, and take a look at it.

        Returns:
            Its ETag.

        Raises:
            ChecksumError: the server holds other parts than those it was given (nothing has changed
                then), or made another object of them (which is removed).
        """
        upload = self._opened()
        if not self._parts:
            self.send(b"")  # without a part there is no object, not even an empty one
        self._compare_parts(upload)
        with told("complete the upload of", self._url):
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=upload,
                MultipartUpload={"Parts": [completed_part(n, p) for n, p in enumerate(self._parts, start=1)]},
                MpuObjectSize=self.size,
            )
        self._id = None
        return self._compare_object()

    def abort(self) -> None:
        """Give the upload up, if it is not complete; that this fails is logged, and no error."""
        if self._id is None:
            return
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._id)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error_code(error) == "NoSuchUpload":
                return  # completed, though the answer did not arrive
            # The error that led here is the one to be told; the next run's sweep aborts the upload.
            logger.warning("%s", translated(error, "abort the upload to", self._url))

    def _opened(self) -> str:
        if self._id is None:
            raise ValueError(
                f"expected to write {self._url} inside the with block of its Multipart, "
                "or after begin or go_on of its Upload"
            )
        return self._id

    def _next_number(self) -> int:
        if len(self._parts) == MAX_PARTS:
            raise DestinationError(
                f"expected at most {MAX_PARTS} parts of {self._url}, found more; use larger parts"
            )
        return len(self._parts) + 1

    def _listed(self, upload: str) -> list[tuple[int, Part]]:
        """The parts that are on the server, by their numbers."""
        with told("list the parts of", self._url):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=self._key, UploadId=upload
            )
            return [
                (p["PartNumber"], Part(p["Size"], p["ETag"], p.get("ChecksumCRC32")))
                for page in pages
                for p in page.get("Parts", [])
            ]

    def _compare_parts(self, upload: str) -> None:
        found = [(number, part.size) for number, part in self._listed(upload)]
        expected = [(number, part.size) for number, part in enumerate(self._parts, start=1)]
        if found != expected:
            differing = sorted(set(found) ^ set(expected))[0][0]
            raise ChecksumError(
                f"expected part {differing} of {self._url} with {dict(expected).get(differing)} bytes, "
                f"found {dict(found).get(differing)} on the server; the upload is aborted, run again"
            )

    def _compare_object(self) -> str:
        with told("look at", self._url):
            head = self._client.head_object(Bucket=self._bucket, Key=self._key, ChecksumMode="ENABLED")
            size, etag = head["ContentLength"], head["ETag"]
        found, expected = f"{size} bytes", f"{self.size} bytes"
        together = composite(self._parts)
        if together is not None and head.get("ChecksumType") == "COMPOSITE":
            found += f" with CRC-32 {head.get('ChecksumCRC32')}"
            expected += f" with CRC-32 {together}"
        if found != expected:
            with told("remove", self._url):
                self._client.delete_object(Bucket=self._bucket, Key=self._key)
            raise ChecksumError(
                f"expected {self._url} of {expected}, found {found}; it is removed, run again"
            )
        return etag


class Multipart(Upload):
    """A multipart upload, from `with` to `complete`.

    A context manager. If its block ends in any other way than after `complete`, the upload is aborted.
    """

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
