"""An archive of the record, read once from front to back, a tile at a time.

Relies on the published form: members sorted by path, so that a tile's members stand together, a patch's
members stand together in it, and nothing wanted can follow once a later path has been seen.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Protocol

import zstandard

from bigearthnet.archive.tar import END_OF_ARCHIVE, TarMember, walk
from bigearthnet.errors import ArchiveError
from bigearthnet.names import LAYERS, Member, Root, parse_member

_READ = 1 << 17
_WINDOW_LIMIT = 1 << 27
"""Bytes of history a frame may ask for. `zstd -6` asks for 2 MiB; `--long` for up to 128."""


class Readable(Protocol):
    """What an archive is read from: a file, or a reader over the network."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to `size` bytes, none at the end."""


def plain(source: Readable) -> Iterator[bytes]:
    """Yield the content of a tar that is not compressed, in chunks."""
    while raw := source.read(_READ):
        yield raw


def decompress(source: Readable) -> Iterator[bytes]:
    """Yield the content of a zstd stream in chunks; checks the content checksum at its end.

    Raises:
        ArchiveError: the stream is empty, no zstd, damaged or cut off.
    """
    position = 0
    frame = None
    while raw := source.read(_READ):
        while raw:
            if frame is None or frame.eof:
                frame = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT).decompressobj()
            try:
                chunk = frame.decompress(raw)
            except zstandard.ZstdError as error:
                raise ArchiveError(
                    f"expected zstd data, found something else before byte {position + len(raw):,} "
                    f"({error}); the file is damaged or no .tar.zst: fetch it again"
                ) from error
            position += len(raw) - len(frame.unused_data)
            raw = frame.unused_data
            if chunk:
                yield chunk
    if frame is None:
        raise ArchiveError("expected a .tar.zst, found an empty file; fetch it again")
    if not frame.eof:
        raise ArchiveError(
            f"expected the end of the zstd frame, found the end of the file "
            f"after {position:,} bytes: it was cut off; fetch it again"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which members of a tile to take.

    With `to_the_end` the tile is read whole, otherwise only until the last wanted patch has passed.
    """

    tile: str
    patch_ids: Collection[str]
    layers: Collection[str]
    to_the_end: bool


class ArchiveReader:
    """An open archive and how far it has been read.

    Made of the tar's chunks (from `decompress` or `plain`), the folder that all its members are in, and
    the name that its errors shall call it by.
    """

    def __init__(self, chunks: Iterator[bytes], root: Root, name: str) -> None:
        self.name = name
        self._root = root
        self._members = self._parsed(walk(chunks))
        self._held: tuple[tuple[Member, TarMember], ...] = ()

    def __iter__(self) -> Iterator[tuple[Member, TarMember]]:
        """Iterate over what is left of the archive, member by member."""
        held, self._held = self._held, ()
        return chain(held, self._members)

    def copy_tile(
        self,
        wanted: Wanted,
        sink: BinaryIO,
        *,
        on_passed: Callable[[Member], None],
        last: bool = False,
    ) -> int:
        """Write the wanted members of a tile to `sink` as a tar, and go on to where the tile ends.

        Args:
            wanted: what to take.
            sink: gets a plain tar: the members' own blocks, and the end of an archive.
            on_passed: is told of each member that is not wanted, of this tile and of those before it.
            last: no further tile will be asked for, so the rest is read too (and told), which lets the
                compressed stream check itself to its end. Not done for a tile that ends early.

        Returns:
            How many members were written.

        Raises:
            ArchiveError: the archive is damaged or not in the published form.
        """
        count = 0
        final = None if wanted.to_the_end else max(wanted.patch_ids, default="")
        for member, blocks in self:
            if member.tile > wanted.tile or (final is not None and self._is_past(member, wanted.tile, final)):
                self._held = ((member, blocks),)
                break
            if member.tile == wanted.tile and member.patch_id in wanted.patch_ids:
                if member.layer in wanted.layers:
                    sink.write(blocks.blocks)
                    count += 1
            else:
                on_passed(member)
        sink.write(END_OF_ARCHIVE)
        if last and wanted.to_the_end:
            for member, _ in self:
                on_passed(member)
        return count

    @staticmethod
    def _is_past(member: Member, tile: str, final: str) -> bool:
        return member.tile == tile and member.patch_id > final

    def _parsed(self, members: Iterator[TarMember]) -> Iterator[tuple[Member, TarMember]]:
        """Check names and order. A patch's first path is parsed whole, the others by what they share."""
        layers = {f"{layer}.tif".encode(): layer for layer in LAYERS[self._root]}
        tile, patch_id, prefix, previous = "", "", b"\xff", b""
        try:
            for blocks in members:
                path = blocks.path
                layer = layers.get(path[len(prefix) :]) if path.startswith(prefix) else None
                if layer is None:
                    tile, patch_id, layer = parse_member(path.decode("utf-8", "backslashreplace"), self._root)
                    prefix = path[: -len(layer) - 4]
                if path <= previous:
                    raise ArchiveError(
                        f"expected members sorted by path and each once, found {path.decode()!r} "
                        f"behind {previous.decode()!r}; pack the archive anew with sorted names"
                    )
                previous = path
                yield Member(tile, patch_id, layer), blocks
        except ArchiveError as error:
            place = f"behind {patch_id}" if patch_id else "at its beginning"
            raise ArchiveError(f"{self.name}: {error} ({place})") from error
