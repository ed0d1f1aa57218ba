"""Bytes of an object in a bucket, over as many connections as it takes, all of the same edition."""

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bigearthnet.errors import ChecksumError, TransferError
from bigearthnet.source.old.answers import backoff_seconds
from bigearthnet.store.s3.errors import told
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from botocore.response import StreamingBody

_TRIES: Final = 6  # in a row without a new byte
_BLOCK_BYTES: Final = 128 << 10  # what a broken connection can lose
_BACKOFF_SECONDS: Final = 2.0
_PARTIAL: Final = 206  # the status of an answer to a Range


class BucketReader(io.RawIOBase):
    """The bytes of an object from `start` to `stop`.

    A try that fails is made again from the byte it ended at, under the condition that the object is still
    the same.

    Args:
        bucket: where it lies; its `refusal` is what a refused request raises.
        source: the object.
        start: first byte to read.
        stop: first byte not to read; None for all there are.
        sleep: waits that many seconds.

    Attributes:
        position: of the next byte.
    """

    def __init__(
        self,
        bucket: Bucket,
        source: Listed,
        start: int = 0,
        stop: int | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._body: StreamingBody | None = None
        self._bucket = bucket
        self._source = source
        self._url = bucket.place.url(source.name)
        self._stop = source.size if stop is None else min(stop, source.size)
        self._sleep = sleep
        self._fruitless = 0
        self.position = start

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read into the buffer what has come; 0 only at the end.

        Raises:
            TransferError: no new byte came in six tries.
            ChecksumError: the object changed since it was looked at.
            SourceError, DestinationError: the server refuses (whichever is the bucket's `refusal`).
        """
        if self.closed:
            raise ValueError("read of a closed BucketReader")
        view = memoryview(buffer).cast("B")[: max(self._stop - self.position, 0)]
        while len(view):
            try:
                count = self._receive(view)
            except TransferError as error:
                self._fail(error)
                continue
            self.position += count
            self._fruitless = 0
            return count
        self._drop()
        return 0

    def close(self) -> None:
        """Let go of the connection."""
        self._drop()
        super().close()

    def _receive(self, view: memoryview) -> int:
        with told("read", self._url, self._bucket.refusal):
            if self._body is None:
                self._body = self._ask()
            count: int = self._body.readinto(view[:_BLOCK_BYTES])  # type: ignore[arg-type]  # the stubs take it for a file
        if not count:
            raise TransferError(f"expected byte {self.position} of {self._url}, found the end of the answer")
        return count

    def _ask(self) -> "StreamingBody":
        answer = self._bucket.client.get_object(
            Bucket=self._bucket.place.bucket,
            Key=self._bucket.place.key(self._source.name),
            Range=f"bytes={self.position}-{self._stop - 1}",
            IfMatch=self._source.etag,
        )
        found, expected = (
            answer.get("ContentRange"),
            f"bytes {self.position}-{self._stop - 1}/{self._source.size}",
        )
        if found == expected:
            return answer["Body"]
        answer["Body"].close()
        if found is None and answer["ResponseMetadata"]["HTTPStatusCode"] == _PARTIAL:
            raise TransferError(f"expected {expected} of {self._url}, found an answer that broke off at once")
        raise ChecksumError(
            f"expected {expected} of {self._url}, found {found or 'all of it'}; "
            "either it changed, or the server cannot send a part of an object"
        )

    def _fail(self, error: TransferError) -> None:
        self._drop()
        self._fruitless += 1
        if self._fruitless >= _TRIES:
            raise TransferError(
                f"expected byte {self.position} of {self._url}, found nothing new in {_TRIES} tries; "
                f"at last: {error}"
            ) from error
        self._sleep(backoff_seconds(_BACKOFF_SECONDS, self._fruitless))

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def read_range(
    bucket: Bucket, source: Listed, start: int, stop: int, *, sleep: Callable[[float], None] = time.sleep
) -> bytes:
    """Bytes `start` to `stop` of an object, all in memory; raises what `BucketReader.readinto` does."""
    data = memoryview(bytearray(max(stop - start, 0)))
    filled = 0
    with BucketReader(bucket, source, start, stop, sleep=sleep) as reader:
        while count := reader.readinto(data[filled:]):
            filled += count
    return bytes(data[:filled])
