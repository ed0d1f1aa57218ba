"""What reading the archive costs beyond its decompression."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import zstandard

from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.archive.tar import walk
from bigearthnet.names import IMAGES_ARCHIVE, IMAGES_ROOT

_TURNS = 5


@dataclass(frozen=True, slots=True)
class Ratios:
    """CPU in ratio to bare decompression: of the tar walk, and of reading with names checked."""

    walk: float
    reader: float


def walk_ratios(sample: Path, rounds: int = 3) -> Iterable[Ratios]:
    """Ratios of the images' archive in `sample`: medians over turns of all three, each round."""
    path = sample / IMAGES_ARCHIVE
    for _ in range(rounds):
        turns = [(_cpu(_bare, path), _cpu(_walked, path), _cpu(_read, path)) for _ in range(_TURNS)]
        yield Ratios(
            statistics.median(walked / bare for bare, walked, _ in turns),
            statistics.median(read / bare for bare, _, read in turns),
        )


def _bare(path: Path) -> None:
    """Decompress into one buffer again and again: the least that zstandard needs."""
    buffer = memoryview(bytearray(1 << 17))
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        while stream.readinto(buffer):
            pass


def _walked(path: Path) -> None:
    with path.open("rb") as file:
        for _ in walk(decompress(file)):
            pass


def _read(path: Path) -> None:
    with path.open("rb") as file:
        for _ in ArchiveReader(decompress(file), IMAGES_ROOT, path.name):
            pass


def _cpu(act: Callable[[Path], None], path: Path) -> float:
    began = time.process_time()
    act(path)
    return time.process_time() - began
