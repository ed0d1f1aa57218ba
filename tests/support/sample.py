"""Records of drawn patches, and the files of one patch."""

from dataclasses import dataclass
from pathlib import Path

from bigearthnet.names import Patch
from bigearthnet.sample import archives


@dataclass(frozen=True, slots=True)
class Sample:
    """A record in a folder: the names of its tiles, and its number of patches."""

    folder: Path
    tiles: tuple[str, ...]
    patches: int


def make_sample(folder: Path, *sizes: int) -> Sample:
    """Make a record with so many patches in each tile."""
    archives.make_sample(folder, sizes)
    return Sample(folder, tuple(archives.TILES)[: len(sizes)], sum(sizes))


def patch_files(patch: Patch) -> dict[str, bytes]:
    """The GeoTIFFs of a patch of the sample, by layer (`BANDS` and `MAP`)."""
    return archives.draw_patch(patch)[1]
