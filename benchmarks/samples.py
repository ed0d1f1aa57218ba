"""Samples of any number of patches, in seconds: some are drawn, and take turns."""

from functools import cache
from itertools import count
from pathlib import Path

from bigearthnet.names import Patch
from bigearthnet.sample import make_sample
from bigearthnet.sample.archives import ZSTD_LEVEL, Drawn, draw_patch

_DRAWN = 64
"""Different patches of a tile. zstd finds no repetition of a patch so far away."""


def sample_of(folder: Path, patches: int, tiles: int = 4, level: int = ZSTD_LEVEL) -> Path:
    """Return a sample in `folder`, made if it is not there; sizes of the tiles are as 1 : 2 : 3 and so on.

    `level` is that of zstd: 1 makes a sample in a third of the time, and 10 % larger.
    """
    sample = folder / f"sample-{patches}-{tiles}-{level}"
    if not sample.exists():
        print(f"making a sample of {patches:,} patches ...", flush=True)
        sizes = [2 * patches * n // (tiles * (tiles + 1)) for n in range(1, tiles)]
        turns = count()
        make_sample(
            sample,
            [*sizes, patches - sum(sizes)],
            lambda patch: _drawn(patch.tile, next(turns) % _DRAWN),
            level,
        )
    return sample


@cache
def _drawn(tile: str, n: int) -> Drawn:
    return draw_patch(Patch(tile, 40 + n // 8, 40 + n % 8))
