"""A walk over a tar stream that costs next to nothing a member.

Headers are taken apart once for each distinct block: in BigEarthNet's archives, made by GNU tar with
one owner and one date, all members of one size in one tile have the same header to the byte, so that
most of the walk is a dictionary look-up. Members are handed out as places in the buffer, uncopied.

Sources of the format: POSIX.1-1988 (ustar), POSIX.1-2001 (pax), and the GNU tar manual, "Basic Tar
Format" (long names, base-256 numbers).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from bigearthnet.errors import ArchiveError

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)
_ZEROS = bytes(BLOCK)

MEMBER_LIMIT = 1 << 20
"""The most bytes a member may claim: the largest file of the dataset has 29,196."""
_NAME_LIMIT = 1 << 16
_DIGITS_LIMIT = 20

_FILE, _FOLDER, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"0", b"5", b"L", b"K", b"x", b"g"
_SPARSE, _PAX_SPARSE = b"S", b"GNU.sparse."
_EXTENSIONS = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL))
_WITH_CONTENT = _EXTENSIONS | {_FILE}
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    _SPARSE: "a sparse file",
}


class Header(NamedTuple):
    """A header block: path as far as it stands there, bytes of content, the same in blocks, and type."""

    path: bytes
    size: int
    padded: int
    kind: bytes


class TarMember(NamedTuple):
    """A regular file of the archive, as a place in `buffer`; valid until the walk goes on.

    Its blocks (headers with the long name, content, padding) are `buffer[start:end]`.
    """

    path: bytes
    buffer: bytes
    start: int
    content_start: int
    size: int
    end: int

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        return self.buffer[self.content_start : self.content_start + self.size]

    @property
    def blocks(self) -> memoryview:
        """All its blocks as they stand in the archive: themselves a piece of a valid tar."""
        return memoryview(self.buffer)[self.start : self.end]


@lru_cache(maxsize=4096)
def parse_header(block: bytes) -> Header:
    """Take a header block of 512 bytes apart.

    Raises:
        ArchiveError: the checksum or a number in it is wrong.
    """
    stated = _number(block[148:156], "checksum")
    unsigned = sum(block) - sum(block[148:156]) + 8 * 32
    if stated != unsigned and stated != unsigned - 256 * sum(b > 127 for b in block[:148] + block[156:]):
        raise ArchiveError(f"expected a tar header with checksum {unsigned}, found {stated}")
    path = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
        path = prefix + b"/" + path if prefix else path
    kind = block[156:157]
    if kind in (b"\0", b"7"):
        kind = _FOLDER if path.endswith(b"/") else _FILE
    size = _number(block[124:136], "size")
    limit = _NAME_LIMIT if kind in _EXTENSIONS else MEMBER_LIMIT
    return Header(path, size, _padded(size, limit, path) if kind in _WITH_CONTENT else 0, kind)


def walk(chunks: Iterator[bytes]) -> Iterator[TarMember]:  # noqa: PLR0912 - calls a member would cost more than all of it
    """Yield the regular files of a tar stream in order; folders are passed over.

    Reads `chunks` to their end, also behind the archive's end, so that whoever makes them can check
    that they are complete. Memory: a chunk and a member.

    Raises:
        ArchiveError: no tar, cut off, or a member that is no plain file or claims an absurd size.
    """
    source = _Chunks(chunks)
    buffer, position = b"", 0
    long_name, long_size, long_padded = b"", 0, 0
    while True:
        start = position
        name: bytes | None = None
        records: dict[bytes, bytes] | None = None
        while True:
            if len(buffer) - position < BLOCK:
                buffer, start, position = source.refill(buffer, start, position, BLOCK)
            block = buffer[position : position + BLOCK]
            if block == long_name:  # as it is before every member of the dataset
                size, padded, kind = long_size, long_padded, _LONG_NAME
            elif block == _ZEROS:
                if position > start:
                    raise ArchiveError("expected a member behind its long name, found the archive's end")
                for _ in chunks:
                    pass
                return
            else:
                path, size, padded, kind = parse_header(block)
            position += BLOCK
            if kind not in _EXTENSIONS:
                break
            if len(buffer) - position < padded:
                buffer, start, position = source.refill(buffer, start, position, padded)
            content = buffer[position : position + size]
            position += padded
            if kind == _LONG_NAME:
                name = content.rstrip(b"\0")
                long_name, long_size, long_padded = block, size, padded
            else:
                records = (records or {}) | _extension(kind, content)
        if name is not None:
            path = name
        if records:
            path = records.get(b"path", path)
            kind = records.get(_PAX_SPARSE, kind)
            if b"size" in records:
                size = _decimal(records[b"size"], "size")
                padded = _padded(size, MEMBER_LIMIT, path)
        if kind != _FILE:
            if kind != _FOLDER:
                found = _REFUSED.get(kind, f"type {kind!r}")
                raise ArchiveError(f"expected plain files, found {found}: {_text(path)}")
            continue
        if len(buffer) - position < padded:
            buffer, start, position = source.refill(buffer, start, position, padded)
        yield TarMember(path, buffer, start, position, size, position + padded)
        position += padded


class _Chunks:
    """The stream's chunks. The walk goes on in them uncopied; only what straddles two is put together."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._taken = 0

    def refill(self, buffer: bytes, start: int, position: int, size: int) -> tuple[bytes, int, int]:
        """Have `size` bytes from `position` on, keeping what begins at `start`; returns all three anew."""
        if start == len(buffer):
            buffer, start = self._chunk, self._taken
            position = start
            self._chunk, self._taken = b"", 0
        have = len(buffer) - position
        if have >= size:
            return buffer, start, position
        pieces = [buffer[start:]]
        while have < size:
            if self._taken == len(self._chunk):
                self._chunk, self._taken = self._next(), 0
            piece = self._chunk[self._taken : self._taken + size - have]
            pieces.append(piece)
            self._taken += len(piece)
            have += len(piece)
        return b"".join(pieces), 0, position - start

    def _next(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise ArchiveError("expected more blocks, found the end: the tar was cut off")
        return chunk


def _padded(size: int, limit: int, path: bytes) -> int:
    """Bytes in whole blocks, if it is a size that can be."""
    if size > limit:
        raise ArchiveError(
            f"expected files of up to {limit:,} bytes, found a header that claims {size:,}: {_text(path)}"
        )
    return size + -size % BLOCK


def _extension(kind: bytes, content: bytes) -> dict[bytes, bytes]:
    """The pax records that stand before a member and belong to it, with what is to be known of them."""
    if kind == _LONG_LINK:
        return {}  # the link itself is refused when it comes
    records = _pax_records(content)
    if kind == _PAX_GLOBAL and records.keys() & {b"path", b"size"}:
        raise ArchiveError("expected names and sizes with each member, found them in a global pax header")
    if any(key.startswith(_PAX_SPARSE) for key in records):
        records[_PAX_SPARSE] = _SPARSE  # its header says that it is a plain file
    return records if kind == _PAX else {}


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """The records of a pax header, each `<length> <key>=<value>` and a line feed."""
    records = {}
    while content:
        stated, _, _ = content.partition(b" ")
        length = _decimal(stated, "length of a pax record")
        record = content[len(stated) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or length > len(content):
            raise ArchiveError(f"expected a pax record '<length> <key>=<value>', found {_text(content[:80])}")
        records[key] = value[:-1]
        content = content[length:]
    return records


def _number(field: bytes, what: str) -> int:
    """An octal number, or one of GNU's in base 256, of 0 or more, which begins with 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if text.strip(b"01234567"):
        raise ArchiveError(f"expected an octal {what} in a tar header, found {_text(field)}: this is no tar")
    return int(text or b"0", 8)


def _decimal(text: bytes, what: str) -> int:
    if not text.isdigit() or len(text) > _DIGITS_LIMIT:
        raise ArchiveError(f"expected a number as {what}, found {_text(text[:80])}")
    return int(text)


def _text(raw: bytes) -> str:
    return repr(raw.decode("utf-8", "backslashreplace"))
