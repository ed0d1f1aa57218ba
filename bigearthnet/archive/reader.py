"""An archive of the record, read once from front to back, a tile at a time.

Relies on the published form: members are sorted by path, so that the members of a tile, and those of a
patch, follow one another.
"""

from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

import zstandard

from bigearthnet.archive.tar import END_OF_ARCHIVE, TarMember, walk
from bigearthnet.errors import ArchiveError
from bigearthnet.names import LAYERS, Member, Root, pack_command, parse_member
from bigearthnet.store.disk import translate_os_errors

_READ = 1 << 17
_BUFFER = 1 << 20
_CHUNK = 1 << 18
"""Most bytes that are decompressed at once: 98 kB of zstd can stand for 3 GiB."""
_WINDOW_LIMIT = 1 << 27
"""Largest window that is accepted, 128 MiB; `zstd -6` uses 2 MiB, `zstd --long` 128 MiB."""


class Readable(Protocol):
    """A source of bytes: a file, or a reader over the network."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to `size` bytes, none at the end."""


def decompress(source: Readable) -> Iterator[bytes]:
    """Yield the content of a zstd stream in chunks of at most 256 KiB, and check its checksums.

    A stream that is cut off ends early, without an error: so does its tar, which `walk` reports.

    Raises:
        ArchiveError: it is not zstd, or damaged.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT)
    reader = decompressor.stream_reader(source, _READ, read_across_frames=True, closefd=False)  # type: ignore[arg-type]
    try:
        while chunk := reader.read(_CHUNK):
            yield chunk
    except zstandard.ZstdError as error:
        raise ArchiveError(f"this is not zstd, or damaged ({error}). Fetch the file again.") from error


class ArchiveReader:
    """An open archive: chunks of a tar whose members are in the folder `root`; errors begin with `name`."""

    def __init__(self, chunks: Iterator[bytes], root: Root, name: str) -> None:
        self.name = name
        self._root = root
        self._members = self._parsed(walk(chunks))
        self._next: tuple[tuple[Member, TarMember], ...] = ()

    def __iter__(self) -> Iterator[tuple[Member, TarMember]]:
        """Iterate over the members that have not been read yet."""
        read_ahead, self._next = self._next, ()
        return chain(read_ahead, self._members)

    def copy_tile(
        self, tile: str, patch_ids: Collection[str], layers: Collection[str], path: Path, *, complete: bool
    ) -> list[str]:
        """Write the wanted members of a tile, with their own blocks, to a tar; skip the tiles before it.

        Args:
            tile: its name.
            patch_ids: ids of the wanted patches.
            layers: bands, or the map, to take of each.
            path: of the tar.
            complete: read the tile to its end, otherwise to its last wanted patch.

        Returns:
            Ids of the other patches of the tile, as far as it was read.

        Raises:
            ArchiveError: the archive is damaged or not in the published form.
            StoreError, SpaceError: the tar cannot be written.
        """
        wanted, others = frozenset(patch_ids), dict[str, None]()
        final = "~" if complete else max(patch_ids, default="")
        with translate_os_errors("write", path), path.open("wb", buffering=_BUFFER) as sink:
            for member, blocks in self:
                if member.tile > tile or (member.tile == tile and member.patch_id > final):
                    self._next = ((member, blocks),)
                    break
                if member.patch_id in wanted:
                    if member.layer in layers:
                        sink.write(blocks.blocks)
                elif member.tile == tile:
                    others[member.patch_id] = None
            sink.write(END_OF_ARCHIVE)
        return list(others)

    def read_to_the_end(self) -> None:
        """Read the rest of the archive, so that all of it is checked; raises as `copy_tile`."""
        for _ in self:
            pass

    def _parsed(self, members: Iterator[TarMember]) -> Iterator[tuple[Member, TarMember]]:
        """Check names and order. Only the first path of a patch is parsed; the others share its prefix."""
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
                        f"members are not sorted: {path.decode()!r} follows {previous.decode()!r}. "
                        f"Pack the archive again: {pack_command(self._root)}"
                    )
                previous = path
                yield Member(tile, patch_id, layer), blocks
        except ArchiveError as error:
            where = f"behind {patch_id}" if patch_id else "at its beginning"
            raise ArchiveError(f"{self.name}, {where}: {error}") from error
