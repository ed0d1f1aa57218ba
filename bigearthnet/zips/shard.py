"""Shards: the members of a zip that belong to one tile, as they stand in it, without a central directory."""

from pathlib import Path
from typing import Self

from zlib_ng import zlib_ng

from bigearthnet.store.disk import translate_os_errors
from bigearthnet.zips.format import local_header

_BUFFER_BYTES = 1 << 20


class ShardWriter:
    """Writes a shard; the same members give the same bytes. A context manager.

    Raises:
        StoreError: the folder cannot be written.
        SpaceError: the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        with translate_os_errors("write", self._path):
            self._file = self._path.open("wb", buffering=_BUFFER_BYTES)
        return self

    def __exit__(self, *exception: object) -> None:
        with translate_os_errors("write", self._path):
            self._file.close()

    def add(self, name: str, data: bytes) -> int:
        """Append a member, the one with the next name; returns the CRC-32 of its data.

        Raises:
            ValueError: the name is not ASCII, or the data has 4 GiB or more.
        """
        crc32 = zlib_ng.crc32(data)
        header = local_header(name.encode(), len(data), crc32)
        with translate_os_errors("write", self._path):
            self._file.write(header)
            self._file.write(data)
        return crc32
