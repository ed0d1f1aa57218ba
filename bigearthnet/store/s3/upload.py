"""A multipart upload: an object that is sent or copied in parts and becomes visible when it is completed."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from bigearthnet.errors import ChecksumError, DestinationError
from bigearthnet.store.base import Range, StoredFile
from bigearthnet.store.s3.parts import MAX_PARTS, Part, completed_part, composite, whole_parts
from bigearthnet.store.s3.prefix import Prefix, content_type
from bigearthnet.store.s3.translate import error_code, translated

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

logger = logging.getLogger(__name__)


class Upload:
    """A multipart upload.

    As a context manager it begins with the block, and is aborted at its end unless it was completed.
    Every method raises what `translate_errors` does.

    Args:
        prefix: holds the object.
        name: of the object.
        metadata: of the object.
    """

    def __init__(self, prefix: Prefix, name: str, metadata: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._name = name
        self._url = prefix.url(name)
        self._metadata = metadata
        self._target: Any = {"Bucket": prefix.bucket, "Key": prefix.key(name)}
        self._parts: list[Part] = []
        self.id: str | None = None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self.abort()

    @property
    def size(self) -> int:
        """Bytes of all parts until now."""
        return sum(part.size for part in self._parts)

    def begin(self) -> str:
        """Begin the upload; returns its id for `go_on`."""
        # The algorithm is named here, or AWS would take the parts' checksums for those of another.
        algorithm: Any = {"ChecksumAlgorithm": "CRC32"} if self._prefix.has_checksums else {}
        with self._prefix.translating("begin an upload to", self._name):
            self.id = self._prefix.client.create_multipart_upload(
                **self._target,
                Metadata=dict(self._metadata),
                ContentType=content_type(self._name),
                **algorithm,
            )["UploadId"]
        self._parts = []
        return self.id

    def go_on(self, upload_id: str, size: int, part_bytes: int) -> bool:
        """Go on with an upload after those of its parts that are on the server.

        Args:
            upload_id: as `begin` returned it.
            size: bytes of the whole object.
            part_bytes: of each part but the last; parts after a gap or one of another size are sent again.

        Returns:
            False if there is no such upload any more.
        """
        with self._prefix.translating("list the parts of", self._name):
            try:
                listed = self._listed(upload_id)
            except ClientError as error:
                if error_code(error) == "NoSuchUpload":
                    return False
                raise
        self.id = upload_id
        self._parts = whole_parts(listed, size, part_bytes)
        return True

    def send(self, data: bytes) -> None:
        """Append a part with these bytes; at least 5 MiB unless it is the last."""
        number = self._next_number()
        request: Any = {"Body": data, **self._prefix.integrity(data)}
        with self._prefix.translating(f"write part {number} of", self._name):
            response = self._prefix.client.upload_part(
                **self._target, UploadId=self._open_id(), PartNumber=number, **request
            )
            self._parts.append(Part(len(data), response["ETag"], request.get("ChecksumCRC32")))

    def copy(self, source: Range) -> None:
        """Append bytes of another object of the prefix, on the server.

        Raises:
            ChangedError: that object is not the one that was looked up.
        """
        number, key = self._next_number(), self._prefix.key(source.file.name)
        with self._prefix.translating(f"copy {source.file.name} to part {number} of", self._name):
            response = self._prefix.client.upload_part_copy(
                **self._target,
                UploadId=self._open_id(),
                PartNumber=number,
                CopySource={"Bucket": self._prefix.bucket, "Key": key},
                CopySourceRange=f"bytes={source.start}-{source.stop - 1}",
                CopySourceIfMatch=source.file.etag,
            )["CopyPartResult"]
            self._parts.append(
                Part(source.stop - source.start, response["ETag"], response.get("ChecksumCRC32"))
            )

    def check(self) -> None:
        """Compare the parts on the server with those that were sent.

        Raises:
            ChecksumError: the server holds other parts.
        """
        if not self._parts:
            self.send(b"")  # an object without a part cannot be completed, not even an empty one
        with self._prefix.translating("list the parts of", self._name):
            found = [(number, part.size) for number, part in self._listed(self._open_id())]
        sent = [(number, part.size) for number, part in enumerate(self._parts, start=1)]
        if found != sent:
            number = sorted(set(found) ^ set(sent))[0][0]
            raise ChecksumError(
                f"cannot complete {self._url}: part {number} has {dict(found).get(number)} bytes on the "
                f"server, and {dict(sent).get(number)} were sent. Run again."
            )

    def complete(self) -> StoredFile:
        """Make the object visible; `check` comes before.

        Raises:
            ChecksumError: the server made another object of the parts; it is removed.
        """
        parts: Any = {"Parts": [completed_part(n, part) for n, part in enumerate(self._parts, start=1)]}
        with self._prefix.translating("complete the upload of", self._name):
            try:
                self._prefix.client.complete_multipart_upload(
                    **self._target, UploadId=self._open_id(), MultipartUpload=parts, MpuObjectSize=self.size
                )
            except ClientError as error:
                # The first try may have succeeded though its response was lost: the object decides.
                if error_code(error) != "NoSuchUpload" or not self._is_there():
                    raise
        self.id = None
        return self._compare_object()

    def abort(self) -> None:
        """Abort the upload if it is not complete; a failure is logged, as the next lock aborts it, too."""
        if self.id is None:
            return
        try:
            self._prefix.client.abort_multipart_upload(**self._target, UploadId=self.id)
        except (ClientError, BotoCoreError) as error:
            if not (isinstance(error, ClientError) and error_code(error) == "NoSuchUpload"):
                logger.warning("%s", translated(error, "abort the upload to", self._url))
        self.id = None

    def _open_id(self) -> str:
        if self.id is None:
            raise ValueError(f"the upload to {self._url} is not open")
        return self.id

    def _next_number(self) -> int:
        if len(self._parts) == MAX_PARTS:
            raise DestinationError(f"cannot write {self._url}: it would have more than {MAX_PARTS:,} parts.")
        return len(self._parts) + 1

    def _listed(self, upload_id: str) -> list[tuple[int, Part]]:
        pages = self._prefix.client.get_paginator("list_parts").paginate(**self._target, UploadId=upload_id)
        return [
            (part["PartNumber"], Part(part["Size"], part["ETag"], part.get("ChecksumCRC32")))
            for page in pages
            for part in page.get("Parts", [])
        ]

    def _is_there(self) -> bool:
        head = self._prefix.head(self._name)
        return head is not None and not self._differences(head) and bool(self._metadata)

    def _differences(self, head: "HeadObjectOutputTypeDef") -> str:
        """How an object differs from the one that was sent; empty if it does not."""
        crc32 = composite(self._parts)
        found, sent = [f"{head['ContentLength']:,} bytes"], [f"{self.size:,} bytes"]
        if crc32 is not None and head.get("ChecksumType") == "COMPOSITE":
            found.append(f"CRC-32 {head.get('ChecksumCRC32')}")
            sent.append(f"CRC-32 {crc32}")
        if not self._metadata.items() <= head["Metadata"].items():
            found.append("other metadata")
        return "" if found == sent else f"{', '.join(found)} instead of {', '.join(sent)}"

    def _compare_object(self) -> StoredFile:
        head = self._prefix.head(self._name)
        differences = "no bytes" if head is None else self._differences(head)
        if head is None or differences:
            self._prefix.delete([self._name])
            raise ChecksumError(f"{self._url} has {differences}, and was removed. Run again.")
        return StoredFile(self._name, head["ContentLength"], head["ETag"])


def list_uploads(prefix: Prefix, beginning: str = "") -> list[tuple[str, str]]:
    """Name and id of each unfinished upload to a name that begins with `beginning`."""
    with prefix.translating("list the unfinished uploads to", beginning):
        pages = prefix.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=prefix.bucket, Prefix=prefix.key(beginning)
        )
        return [
            (upload["Key"][len(prefix.key("")) :], upload["UploadId"])
            for page in pages
            for upload in page.get("Uploads", [])
        ]


def abort_uploads(prefix: Prefix, uploads: list[tuple[str, str]]) -> None:
    """Abort uploads, by name and id; those that are gone are skipped."""
    for name, upload_id in uploads:
        with prefix.translating("abort an unfinished upload to", name):
            try:
                prefix.client.abort_multipart_upload(
                    Bucket=prefix.bucket, Key=prefix.key(name), UploadId=upload_id
                )
            except ClientError as error:
                if error_code(error) != "NoSuchUpload":
                    raise
