"""A fast reader of tar streams.

In BigEarthNet's archives, all members of one size in a tile have the same header, byte for byte, so that
headers are parsed once, by `tarfile`, and then looked up. Members are handed out as views of the buffer.

Sources of the format: POSIX.1-2001 (pax), and the GNU tar manual, "Basic Tar Format" (long names).
"""

from collections.abc import Iterator
from functools import lru_cache
from tarfile import HeaderError, TarInfo
from typing import NamedTuple

from bigearthnet.errors import ArchiveError

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)
_ZEROS = bytes(BLOCK)

MEMBER_LIMIT = 1 << 20
"""Largest size of a member; the largest file of the dataset has 29,196 bytes."""
_EXTENSION_LIMIT = 1 << 16
_HEADERS_LIMIT = 1 << 18
"""Most bytes of headers and extensions before the content of a member."""
_DIGITS_LIMIT = 20

_FILE, _FOLDER, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"0", b"5", b"L", b"K", b"x", b"g"
_EXTENSIONS = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL))
_SPARSE = b"S"
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    _SPARSE: "a sparse file",
}


class TarMember(NamedTuple):
    """A regular file of the archive; all its blocks (headers, content, padding) are `buffer[start:end]`."""

    path: bytes
    buffer: bytes
    start: int
    content_start: int
    size: int
    end: int

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.buffer[self.content_start : self.content_start + self.size]

    @property
    def blocks(self) -> memoryview:
        """All blocks as they are in the archive: a tar, but for its end."""
        return memoryview(self.buffer)[self.start : self.end]


@lru_cache(maxsize=4096)
def _header(block: bytes) -> tuple[bytes, int, int, bytes]:
    """Parse a header block: path, size of the content, size of the blocks that hold it, and type."""
    try:
        info = TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except HeaderError as error:
        raise ArchiveError(f"this is not a tar, or it is damaged ({error}). Fetch the file again.") from error
    path, size = info.name.encode("utf-8", "surrogateescape"), info.size
    if info.type in _EXTENSIONS:
        return path, size, _padded(size, _EXTENSION_LIMIT, path), info.type
    if info.isreg() and info.type != _SPARSE:
        return path, size, _padded(size, MEMBER_LIMIT, path), _FILE
    return path, size, 0, info.type


def walk(chunks: Iterator[bytes]) -> Iterator[TarMember]:  # noqa: PLR0912, PLR0915 - calls cost more than the rest
    """Yield the regular files of a tar stream in order; folders are skipped.

    Reads `chunks` to their end, also behind the end of the archive, so that their maker can check that
    they are complete. Memory: a chunk and a member.

    Raises:
        ArchiveError: it is not a tar, it is cut off, or a member is not a plain file or too large.
    """
    buffer, start, position = b"", 0, 0
    chunk, used = b"", 0
    long_block, long_header = b"", (b"", 0, 0, b"")

    def fill(size: int) -> None:
        """Have `size` bytes at `position`, and keep those from `start` on. Copies only what spans chunks."""
        nonlocal buffer, start, position, chunk, used
        if start == len(buffer):
            buffer, start, position = chunk, used, used
            chunk, used = b"", 0
        missing = size - (len(buffer) - position)
        if missing <= 0:
            return
        pieces = [buffer[start:]]
        while missing > 0:
            if used == len(chunk):
                following = next(chunks, None)
                if following is None:
                    raise ArchiveError("the tar is cut off. Fetch the file again.")
                chunk, used = following, 0
            pieces.append(chunk[used : used + missing])
            used += len(pieces[-1])
            missing -= len(pieces[-1])
        buffer, start, position = b"".join(pieces), 0, position - start

    while True:
        start, name = position, b""
        records: dict[bytes, bytes] = {}
        while True:
            if len(buffer) - position < BLOCK:
                fill(BLOCK)
            block = buffer[position : position + BLOCK]
            if block == _ZEROS:
                if position > start:
                    raise ArchiveError("the tar ends behind a long name, before its member: it is damaged")
                for _ in chunks:
                    pass
                return
            # In the dataset, the same block is before every member; a comparison is quicker than the cache.
            path, size, padded, kind = header = long_header if block == long_block else _header(block)
            position += BLOCK
            if kind not in _EXTENSIONS:
                break
            if position + padded - start > _HEADERS_LIMIT:
                raise ArchiveError(f"a member has more than {_HEADERS_LIMIT:,} bytes of headers")
            if len(buffer) - position < padded:
                fill(padded)
            content = buffer[position : position + size]
            position += padded
            if kind == _LONG_NAME:
                long_block, long_header = block, header
                name = content.rstrip(b"\0")
            else:
                records |= _extension(kind, content)
        path = records.get(b"path", name or path)
        if records:
            kind = records.get(_SPARSE, kind)
            if b"size" in records:
                size = _decimal(records[b"size"], "size")
                padded = _padded(size, MEMBER_LIMIT, path)
        if kind == _FILE:
            if len(buffer) - position < padded:
                fill(padded)
            yield TarMember(path, buffer, start, position, size, position + padded)
            position += padded
        elif kind != _FOLDER:
            found = _REFUSED.get(kind, f"a member of type {kind!r}")
            raise ArchiveError(f"{_text(path)} is {found}; only plain files are read")


def _padded(size: int, limit: int, path: bytes) -> int:
    """Bytes of the whole blocks that hold `size` bytes."""
    if not 0 <= size <= limit:
        raise ArchiveError(f"{_text(path)} claims {size:,} bytes; the limit is {limit:,}")
    return size + -size % BLOCK


def _extension(kind: bytes, content: bytes) -> dict[bytes, bytes]:
    """Parse what precedes a member and holds for it; `_SPARSE` marks a sparse file."""
    if kind == _LONG_LINK:
        return {}  # the link itself is refused
    records = _pax_records(content)
    if kind == _PAX_GLOBAL:
        if records.keys() & {b"path", b"size"}:
            raise ArchiveError("a global pax header states a path or size, which each member must do itself")
        return {}
    if any(key.startswith(b"GNU.sparse.") for key in records):
        records[_SPARSE] = _SPARSE  # its header says that it is a plain file
    return records


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """Parse the records of a pax header, each `<length> <key>=<value>` and a line feed."""
    records = {}
    while content:
        stated = content.partition(b" ")[0]
        length = _decimal(stated, "length of a pax record")
        key, equals, value = content[len(stated) + 1 : length].partition(b"=")
        if not equals or not value.endswith(b"\n") or length > len(content):
            raise ArchiveError(f"{_text(content)} is not a pax record: the tar is damaged")
        records[key] = value[:-1]
        content = content[length:]
    return records


def _decimal(text: bytes, what: str) -> int:
    if not text.isdigit() or len(text) > _DIGITS_LIMIT:
        raise ArchiveError(f"{_text(text)} is not the {what}: the tar is damaged")
    return int(text)


def _text(raw: bytes) -> str:
    """Show at most 300 bytes of a path or field."""
    return repr(raw[:300].decode("utf-8", "backslashreplace"))
