"""One object written in parts, each with its checksum: completed only when all are there, else aborted."""

import base64
import logging
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from botocore.exceptions import BotoCoreError, ClientError

from bigearthnet.bucket_errors import error_code, told, translated
from bigearthnet.errors import ChecksumError, DestinationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIN_PART_BYTES: Final = 5 << 20
"""The least of any part but the last."""
MAX_PART_BYTES: Final = 5 << 30
"""The most of any part, and of an object that is put or copied at once."""
MAX_PARTS: Final = 10_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Part:
    size: int
    etag: str
    crc32: str | None
    """As the server writes it; None where it does not tell the checksum of what it copied."""


class Multipart:
    """A multipart upload, from `with` to `complete`.

    A context manager. If its block ends in any other way than after `complete`, the upload is aborted,
    and what was at the key before is untouched.

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
        self._parts: list[_Part] = []

    def __enter__(self) -> Self:
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._id is not None:
            self._abort(self._id)

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
            self._parts.append(_Part(len(data), answer["ETag"], crc32))

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
            self._parts.append(_Part(stop - start, answer["ETag"], answer.get("ChecksumCRC32")))

    def complete(self) -> str:
        """Let the object come into being, after a look at all its parts, and take a look at it.

        Returns:
            Its ETag.

        Raises:
            ChecksumError: the server holds other parts than those it was given (nothing has changed
                then), or made another object of them (which is removed).
        """
        upload = self._opened()
        self._compare_parts(upload)
        with told("complete the upload of", self._url):
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=upload,
                MultipartUpload={"Parts": [_completed(n, p) for n, p in enumerate(self._parts, start=1)]},
                MpuObjectSize=self.size,
            )
        self._id = None
        return self._compare_object()

    def _opened(self) -> str:
        if self._id is None:
            raise ValueError(f"expected to write {self._url} inside the with block of its Multipart")
        return self._id

    def _next_number(self) -> int:
        if len(self._parts) == MAX_PARTS:
            raise DestinationError(
                f"expected at most {MAX_PARTS} parts of {self._url}, found more; use larger parts"
            )
        return len(self._parts) + 1

    def _compare_parts(self, upload: str) -> None:
        with told("list the parts of", self._url):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=self._key, UploadId=upload
            )
            found = [(p["PartNumber"], p["Size"]) for page in pages for p in page.get("Parts", [])]
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
        composite = _composite(self._parts)
        if composite is not None and head.get("ChecksumType") == "COMPOSITE":
            found += f" with CRC-32 {head.get('ChecksumCRC32')}"
            expected += f" with CRC-32 {composite}"
        if found != expected:
            with told("remove", self._url):
                self._client.delete_object(Bucket=self._bucket, Key=self._key)
            raise ChecksumError(
                f"expected {self._url} of {expected}, found {found}; it is removed, run again"
            )
        return etag

    def _abort(self, upload: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=upload)
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error_code(error) == "NoSuchUpload":
                return  # completed, though the answer did not arrive
            # The error that led here is the one to be told; the next run's sweep aborts the upload.
            logger.warning("%s", translated(error, "abort the upload to", self._url))


def abort_unfinished(client: "S3Client", bucket: str, prefix: str, is_own: Callable[[str], bool]) -> int:
    """Abort the multipart uploads under a prefix whose keys are one's own; returns how many.

    Raises:
        DestinationError, TransferError: as `Multipart`.
    """
    with told("list the unfinished uploads of", f"s3://{bucket}/{prefix}"):
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        found = [(upload["Key"], upload["UploadId"]) for page in pages for upload in page.get("Uploads", [])]
    aborted = 0
    for key, upload_id in found:
        if not is_own(key):
            continue
        with (
            told("abort an unfinished upload to", f"s3://{bucket}/{key}"),
            suppress(client.exceptions.NoSuchUpload),
        ):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
            aborted += 1
    return aborted


def ranges(start: int, stop: int, most: int = MAX_PART_BYTES) -> list[tuple[int, int]]:
    """Cut `start` to `stop` into as few ranges of at most `most` bytes as it takes, about equally long."""
    count = -(-(stop - start) // most)
    length = stop - start
    return [(start + length * i // count, start + length * (i + 1) // count) for i in range(count)]


def checksum(crc32: int) -> str:
    """A CRC-32 as S3 writes it: base64 of its four bytes, most significant first."""
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def _completed(number: int, part: _Part) -> "CompletedPartTypeDef":
    completed: CompletedPartTypeDef = {"PartNumber": number, "ETag": part.etag}
    if part.crc32 is not None:
        completed["ChecksumCRC32"] = part.crc32
    return completed


def _composite(parts: list[_Part]) -> str | None:
    """The CRC-32 of the parts' CRC-32s, as S3 makes it; None unless all are known.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    known = [part.crc32 for part in parts if part.crc32 is not None]
    if len(known) < len(parts):
        return None
    joined = b"".join(base64.b64decode(crc32) for crc32 in known)
    return f"{checksum(zlib.crc32(joined))}-{len(parts)}"
