"""Joining shards into one zip: the members are copied as they lie, the central directory is made anew.

A `Join` is the plan, and knows nothing of where shards lie: `join_to_file` carries it out in a folder,
and a bucket can do the same by copying the member sections on the server.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigearthnet.errors import ArchiveError
from bigearthnet.zips.format import (
    EXTRA_BYTES,
    LIMIT_32,
    LOCAL_BYTES,
    Tail,
    central_entry,
    end_records,
    iter_central,
    read_tail,
)
from bigearthnet.zips.shard import HashedFile


@dataclass(frozen=True, slots=True)
class Section:
    """The member section of a shard, from its first byte on, and where it lands in the joined zip.

    Attributes:
        source: the shard.
        length: bytes of the section; the shard's central directory begins right after it.
        offset: bytes before the section in the joined zip.
        members: members of the section.
        central_size: bytes of the shard's central directory.
    """

    source: str | Path
    length: int
    offset: int
    members: int
    central_size: int


_EMPTY: Final = Tail(0, 0, 0)

ReadCentral = Callable[[Section], bytes]
"""Reads the central directory of a section's shard: `central_size` bytes from byte `length` on."""


@dataclass(frozen=True, slots=True)
class Join:
    """How shards become one zip: the sections one after the other, then the central directory.

    Attributes:
        sections: those that hold members, in the order of the joined zip.
        members: members of all sections.
        body: bytes of all sections.
    """

    sections: tuple[Section, ...]
    members: int
    body: int

    def central_directory(self, read_central: ReadCentral) -> Iterator[bytes]:
        """Make what follows the sections: their entries with offsets moved, a chunk a section, and the end.

        Only one shard's central directory is in memory at a time.

        Raises:
            ArchiveError: names do not ascend, in a shard or from one to the next, or a shard's central
                directory is not the one its end records promised.
        """
        size, last = 0, b""
        for section in self.sections:
            chunk, last = _moved(section, read_central(section), last)
            size += len(chunk)
            yield chunk
        yield end_records(self.members, size, self.body)

    def size(self, read_central: ReadCentral) -> int:
        """Bytes of the joined zip; reads only the central directories of shards that cross the 4 GiB line.

        Raises:
            ArchiveError: a shard's central directory that was read is not as this project writes it.
        """
        central = sum(s.central_size + EXTRA_BYTES * _new_extras(s, read_central) for s in self.sections)
        return self.body + central + len(end_records(self.members, central, self.body))


@dataclass(frozen=True, slots=True)
class JoinedZip:
    """A finished joined zip: `size` in bytes, `sha256` in hexadecimal."""

    size: int
    sha256: str
    members: int


def plan_join(shards: Iterable[tuple[str | Path, Tail]]) -> Join:
    """Plan the joining of shards, given with their end records, in the order of the joined zip.

    Names must ascend from shard to shard; that is checked when the central directory is made.
    Shards without members have no section.
    """
    sections = []
    members = body = 0
    for source, tail in shards:
        if tail != _EMPTY:
            sections.append(Section(source, tail.central_offset, body, tail.count, tail.central_size))
        members += tail.count
        body += tail.central_offset
    return Join(tuple(sections), members, body)


def join_to_file(shards: Sequence[Path], target: Path, *, copy_chunk: int = 1 << 20) -> JoinedZip:
    """Join shards into the zip at `target`, in the given order; the bytes are those of one `ShardWriter`.

    Args:
        shards: zips written by `ShardWriter`, the names in them ascending from one to the next.
        target: written in place, so it is the caller who moves it; removed if anything goes wrong.
        copy_chunk: bytes copied at a time.

    Raises:
        ArchiveError: a shard is not as this project writes it, or is cut off, or names do not ascend.
        DestinationError: the target cannot be written.
        SpaceError: the disk is full.
        OSError: a shard cannot be read.
    """
    join = plan_join([(shard, _tail_of(shard)) for shard in shards])
    file = HashedFile(target, target)
    done = False
    try:
        for section in join.sections:
            _copy(section, file, memoryview(bytearray(min(copy_chunk, section.length))))
        for chunk in join.central_directory(read_central_of_file):
            file.write(chunk)
        file.finish()
        done = True
    finally:
        file.abandon()
        if not done:
            target.unlink(missing_ok=True)
    return JoinedZip(file.size, file.sha256, join.members)


def read_central_of_file(section: Section) -> bytes:
    """Read the central directory of a section's shard in a folder."""
    with Path(section.source).open("rb") as file:
        file.seek(section.length)
        return file.read(section.central_size)


def _tail_of(shard: Path) -> Tail:
    with shard.open("rb") as file:
        return read_tail(file)


def _copy(section: Section, file: HashedFile, buffer: memoryview) -> None:
    left = section.length
    with Path(section.source).open("rb", buffering=0) as shard:
        while left:
            count = shard.readinto(buffer[:left])
            if not count:
                raise _changed(section, f"its end {left} bytes earlier")
            file.write(buffer[:count])
            left -= count


def _moved(section: Section, data: bytes, last: bytes) -> tuple[bytes, bytes]:
    """Move the entries of a section; gives them and the last name, to be compared with the next section's."""
    chunk = bytearray()
    members = end = 0
    for entry in iter_central(data, section.source):
        if entry.name <= last:
            raise ArchiveError(
                f"expected names that ascend within and from shard to shard, each once, found {entry.name!r} "
                f"after {last!r} in {section.source}; give the shards sorted by tile, each of them once"
            )
        if entry.offset != end:
            raise _changed(section, f"{entry.name!r} at byte {entry.offset} instead of {end}")
        chunk += central_entry(entry.name, entry.size, entry.crc32, section.offset + entry.offset)
        end += LOCAL_BYTES + len(entry.name) + entry.size
        last = entry.name
        members += 1
    if (members, end) != (section.members, section.length):
        raise _changed(section, f"{members} members in {end} bytes")
    return bytes(chunk), last


def _new_extras(section: Section, read_central: ReadCentral) -> int:
    """How many members of a section get a zip64 extra that they do not have in their shard."""
    if section.offset + section.length <= LIMIT_32:
        return 0
    if section.offset >= LIMIT_32 >= section.length:
        return section.members
    entries = iter_central(read_central(section), section.source)
    return sum(entry.offset < LIMIT_32 <= section.offset + entry.offset for entry in entries)


def _changed(section: Section, found: str) -> ArchiveError:
    return ArchiveError(
        f"expected {section.members} members in the first {section.length} bytes of {section.source}, "
        f"as its end records say, found {found}; delete it and run again: it is made anew"
    )
