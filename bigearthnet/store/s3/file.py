"""An object in a bucket as a file that can be sought, of which only what is read is fetched."""

import io
from typing import TYPE_CHECKING

from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed
from bigearthnet.store.s3.reader import read_range

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 64 << 10


class _ObjectFile(io.RawIOBase):
    def __init__(self, bucket: Bucket, listed: Listed) -> None:
        super().__init__()
        self._bucket, self._listed, self._position = bucket, listed, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._listed.size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._listed.size)
        data = read_range(self._bucket, self._listed, self._position, stop)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_object(bucket: Bucket, listed: Listed) -> io.BufferedReader:
    """Open an object for reading here and there; a request for every 64 KiB or more that are read.

    Reading raises what `BucketReader.readinto` does.
    """
    return io.BufferedReader(_ObjectFile(bucket, listed), _BUFFER_BYTES)
