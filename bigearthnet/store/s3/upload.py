"""A multipart upload: an object that is sent or copied in parts and becomes visible when it is completed."""

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from bigearthnet.errors import BigEarthNetError, ChecksumError
from bigearthnet.store.base import Range, StoredFile
from bigearthnet.store.s3.prefix import Prefix, content_type

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIN_PART_BYTES: Final = 5 << 20
"""The least of any part but the last."""
PART_BYTES: Final = 8 << 20
"""Of a part that is sent: 10,000 are the most, 78 GiB. Twice as much is in memory."""

logger = logging.getLogger(__name__)


class Upload:
    """A multipart upload to the object `name`; see `Staged` for its commit.

    Bytes that are too few for a part wait for more.
    """

    def __init__(self, prefix: Prefix, name: str, metadata: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._name = name
        self._metadata = metadata
        self._parts: list[CompletedPartTypeDef] = []
        self._sent = 0
        self._waiting = bytearray()
        self.id: str | None = None

    @property
    def size(self) -> int:
        """Bytes that were appended."""
        return self._sent + len(self._waiting)

    def begin(self) -> str:
        """Begin the upload; returns its id for `go_on`."""
        self._prefix.require_ours()
        client = self._prefix.client
        # AWS wants the algorithm of the parts' checksums named; boto3 may be set to send none.
        sends_checksums = client.meta.config.request_checksum_calculation != "when_required"  # type: ignore[attr-defined]
        algorithm: Any = {"ChecksumAlgorithm": "CRC32"} if sends_checksums else {}
        with self._prefix.translating("begin an upload to", self._name):
            self.id = client.create_multipart_upload(
                **self._prefix.at(self._name),
                Metadata=dict(self._metadata),
                ContentType=content_type(self._name),
                **algorithm,
            )["UploadId"]
        return self.id

    def go_on(self, upload_id: str) -> None:
        """Go on with an upload if it is still there.

        Parts after a gap or one of another size, such as the last one, have to be sent again.
        """
        with self._prefix.translating("list the parts of", self._name):
            try:
                pages = self._prefix.client.get_paginator("list_parts").paginate(
                    **self._prefix.at(self._name), UploadId=upload_id
                )
                listed = [part for page in pages for part in page.get("Parts", [])]
            except self._prefix.client.exceptions.NoSuchUpload:
                return
        self.id = upload_id
        for part in listed:
            if (part["PartNumber"], part["Size"]) != (len(self._parts) + 1, PART_BYTES):
                break
            self._append(part, part["Size"])

    def write(self, data: memoryview) -> None:
        """Append bytes."""
        while len(data):
            count = PART_BYTES - len(self._waiting)
            self._waiting += data[:count]
            data = data[count:]
            if len(self._waiting) == PART_BYTES:
                self._send()

    def before_copy(self, size: int) -> int:
        """Bytes of the next `size` that have to be written, so that the rest, if any, can be copied."""
        missing = max(MIN_PART_BYTES - len(self._waiting), 0) if self._waiting else 0
        return missing if size - missing >= MIN_PART_BYTES else size

    def copy(self, source: Range) -> None:
        """Append bytes of another object of the prefix, on the server; `before_copy` says which can be."""
        if self._waiting:
            self._send()
        self._prefix.require_ours()
        name = source.file.name
        with self._prefix.translating(f"copy {name} to part {len(self._parts) + 1} of", self._name):
            response = self._prefix.client.upload_part_copy(
                **self._next_part(),
                CopySource=self._prefix.at(name),
                CopySourceRange=f"bytes={source.start}-{source.stop - 1}",
                CopySourceIfMatch=source.file.etag,
            )
            self._append(response["CopyPartResult"], source.stop - source.start)

    def flush(self) -> None:
        """Send what waits; nothing can be appended afterwards."""
        if self._waiting or not self._parts:  # without a part not even an empty object can be completed
            self._send()

    def commit(self) -> StoredFile:
        """Complete the upload, after `flush`."""
        self._prefix.require_ours()
        with self._prefix.translating("complete the upload of", self._name):
            try:
                self._prefix.client.complete_multipart_upload(
                    **self._prefix.at(self._name),
                    UploadId=str(self.id),
                    MultipartUpload={"Parts": self._parts},
                    MpuObjectSize=self.size,
                )
            except self._prefix.client.exceptions.NoSuchUpload:
                # The first try may have succeeded though its response was lost: the object decides.
                if not (self._metadata and self._find()):
                    raise
        self.id = None
        stored = self._find()
        if stored is None:
            self._prefix.delete([self._name])
            raise ChecksumError(
                f"{self._prefix.url(self._name)} has not the {self.size:,} bytes and the metadata that were "
                "sent, and was removed. Run again."
            )
        return stored

    def abort(self) -> None:
        """Abort the upload if it is not complete; a failure is logged, as the next lock aborts it, too."""
        if self.id is not None:
            try:
                abort_upload(self._prefix, self._name, self.id)
            except BigEarthNetError as error:
                logger.warning("%s", error)
        self.id, self._sent, self._parts = None, 0, []
        self._waiting.clear()

    def _send(self) -> None:
        self._prefix.require_ours()
        with self._prefix.translating(f"write part {len(self._parts) + 1} of", self._name):
            response = self._prefix.client.upload_part(**self._next_part(), Body=bytes(self._waiting))
            self._append(response, len(self._waiting))
        self._waiting.clear()

    def _next_part(self) -> Any:
        return {**self._prefix.at(self._name), "UploadId": self.id, "PartNumber": len(self._parts) + 1}

    def _append(self, answer: Any, size: int) -> None:
        part: CompletedPartTypeDef = {"PartNumber": len(self._parts) + 1, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:  # AWS wants the checksums of all parts again when it joins them
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        self._parts.append(part)
        self._sent += size

    def _find(self) -> StoredFile | None:
        """The object, if it is the one that was sent."""
        head = self._prefix.head(self._name)
        if head is None or not self._metadata.items() <= head.metadata.items():
            return None
        stored = StoredFile(self._name, head.size, head.etag)
        return stored if stored.size == self.size else None


def abort_upload(prefix: Prefix, name: str, upload_id: str) -> None:
    """Abort an upload; one that is gone is skipped."""
    gone = prefix.client.exceptions.NoSuchUpload
    with prefix.translating("abort an unfinished upload to", name), suppress(gone):
        prefix.client.abort_multipart_upload(**prefix.at(name), UploadId=upload_id)


def abort_other_uploads(prefix: Prefix, kept: Collection[str]) -> None:
    """Abort the unfinished uploads to files of a store, but those with these ids.

    A store's files are at its top or below hidden folders: what is being sent to other folders is of somebody
    else, such as a store with a longer prefix.
    """
    with prefix.translating("list the unfinished uploads to"):
        pages = prefix.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=prefix.bucket, Prefix=prefix.key("")
        )
        uploads = [upload for page in pages for upload in page.get("Uploads", [])]
    for upload in uploads:
        name = prefix.name(upload["Key"])
        is_elsewhere = "/" in name and not name.startswith(".")
        if upload["UploadId"] not in kept and not is_elsewhere:
            abort_upload(prefix, name, upload["UploadId"])
