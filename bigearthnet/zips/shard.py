"""Shards: the members of a zip that belong to one tile, as they stand in it, without a central directory."""

import zlib
from pathlib import Path
from typing import Self

from bigearthnet.store.disk import translate_os_errors
from bigearthnet.zips.format import local_header

_BUFFER_BYTES = 1 << 20


class ShardWriter:
    """Writes a shard; the same members give the same bytes. A context manager.

    Attributes:
        size: bytes so far.

    Raises:
        StoreError: the folder cannot be written.
        SpaceError: the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._last = b""

    def __enter__(self) -> Self:
        with translate_os_errors("write", self._path):
            self._file = self._path.open("wb", buffering=_BUFFER_BYTES)
        return self

    def __exit__(self, *exception: object) -> None:
        with translate_os_errors("write", self._path):
            self._file.close()

    def add(self, name: str, data: bytes) -> int:
        """Append a member; returns the CRC-32 of its data.

        Raises:
            ValueError: the name is not ASCII or not in ascending order, or the data has 4 GiB or more.
        """
        raw, crc32 = name.encode(), zlib.crc32(data)
        header = local_header(raw, len(data), crc32)
        if raw <= self._last:
            raise ValueError(f"members must be in ascending order: {raw!r} came after {self._last!r}")
        with translate_os_errors("write", self._path):
            self._file.write(header)
            self._file.write(data)
        self.size += len(header) + len(data)
        self._last = raw
        return crc32
