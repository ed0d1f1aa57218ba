"""How many patches a second one archive gives, and what more threads would change."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread

from bigearthnet.archive.bundle import Extractor, TileRequest
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.names import IMAGES_ARCHIVE, IMAGES_ROOT, MAPS_ROOT, RGB_BANDS

_TURNS = 3
_BLOCK = 1 << 18
_AHEAD = 8
"""Blocks that wait between threads."""


def patches_a_second(sample: Path, folder: Path, patch_ids: Sequence[str]) -> dict[str, float]:
    """Extract the images of a sample of one tile in several ways, by the clock."""
    archive = sample / IMAGES_ARCHIVE
    ways: dict[str, Callable[[], Iterator[bytes]]] = {
        "a file": lambda: decompress(_Blocks(_read(archive))),
        "a file, zstd in a thread": lambda: _ahead(decompress(_Blocks(_read(archive)))),
        "a stream with its md5": lambda: decompress(_Blocks(_hashed(archive))),
        "a stream, md5 and zstd in a thread": lambda: _ahead(decompress(_Blocks(_hashed(archive)))),
        "a stream, a thread for each": lambda: _ahead(decompress(_Blocks(_ahead(_hashed(archive))))),
    }
    found = {}
    for name, open_chunks in ways.items():
        seconds = min(_seconds(open_chunks(), folder, patch_ids) for _ in range(_TURNS))
        found[name] = len(patch_ids) / seconds
    return found


def _seconds(chunks: Iterator[bytes], folder: Path, patch_ids: Sequence[str]) -> float:
    began = time.monotonic()
    images = ArchiveReader(chunks, IMAGES_ROOT, "images")
    maps = ArchiveReader(iter(()), MAPS_ROOT, "maps")
    request = TileRequest(patch_ids[0][:-6], patch_ids, (), None, complete=True, last=True)
    Extractor(images, maps, RGB_BANDS["true_colour"]).extract(request, folder)
    return time.monotonic() - began


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            yield block


def _hashed(path: Path) -> Iterator[bytes]:
    digest = hashlib.md5(usedforsecurity=False)
    for block in _read(path):
        digest.update(block)
        yield block


class _Blocks:
    """Blocks as a source to read from."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        data = self._rest or next(self._blocks, b"")
        self._rest = data[size:]
        return data[:size]


def _ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield blocks that a thread gets ahead of time."""
    queue: Queue[bytes] = Queue(_AHEAD)

    def run() -> None:
        for block in blocks:
            queue.put(block)
        queue.put(b"")

    Thread(target=run, daemon=True).start()
    while block := queue.get():
        yield block
