"""Joining shards to one zip: where each member lies, and the central directory."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bigearthnet.zips.format import LOCAL_BYTES, central_entry, end_records

Offsets = npt.NDArray[np.uint64]


class CentralDirectory:
    """Makes the central directory of a zip, a shard at a time."""

    def __init__(self) -> None:
        self.offset = 0  # bytes of the members so far: where the next shard begins
        self._count = 0
        self._size = 0
        self._last = b""

    def add(self, members: Iterable[tuple[bytes, int, int]]) -> bytes:
        """Return the entries of the next shard's members, given as name, size and CRC-32.

        Raises:
            ValueError: names do not ascend.
        """
        entries = bytearray()
        for name, size, crc32 in members:
            if name <= self._last:
                raise ValueError(f"members must be in ascending order: {name!r} came after {self._last!r}")
            entries += central_entry(name, size, crc32, self.offset)
            self.offset += LOCAL_BYTES + len(name) + size
            self._count += 1
            self._last = name
        self._size += len(entries)
        return bytes(entries)

    def end(self) -> bytes:
        """Return the end records, which follow the entries."""
        return end_records(self._count, self._size, self.offset)


def data_offsets(name_lengths: npt.ArrayLike, sizes: npt.ArrayLike, start: int) -> Offsets:
    """Return the offset of each member's data, (members,), in a shard that begins at `start`."""
    data = np.asarray(sizes, np.uint64)
    ends = np.cumsum(np.uint64(LOCAL_BYTES) + np.asarray(name_lengths, np.uint64) + data, dtype=np.uint64)
    offsets: Offsets = np.uint64(start) + ends - data
    return offsets
