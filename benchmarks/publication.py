"""Publish a dataset of as many patches as the record has, from drawn rows: join, manifest, documents."""

import json
import re
import sys
import tempfile
import time
from pathlib import Path
from shutil import rmtree

import cv2
import numpy as np

from bigearthnet.dataset.publish import Publication, ZipDigest, publish
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE, Patch
from bigearthnet.options import Rendering, Selection
from bigearthnet.plan.recipe import KINDS, Kind, Recipe, RecordUsed
from bigearthnet.source.record import SourceFile, Verification
from bigearthnet.store import FolderStore
from bigearthnet.tile.convert import ConvertedTile, rows_file, shard_file
from bigearthnet.tile.rows import SCHEMAS, SUFFIXES, column, write_rows
from bigearthnet.zips.shard import ShardWriter

_TILES, _PATCHES = 115, 549_488  # of the record
_ACQUIRED = "S2A_MSIL2A_20170613T101031_N9999_R022_T33U"
_PIXELS = np.random.default_rng(0).integers(0, 19, (120, 120), np.uint8)
_PNGS: dict[Kind, bytes] = {
    "images": cv2.imencode(".png", np.full((120, 120, 3), 99, np.uint8))[1].tobytes(),
    "masks": cv2.imencode(".png", np.kron(_PIXELS[:6, :6], np.ones((20, 20), np.uint8)))[1].tobytes(),
}


def main(folder: Path, patches: int) -> None:
    """Print what it took as JSON: CPU of publishing alone, and how far the memory rose."""
    store = FolderStore(folder / "dataset")
    with store.lock("a benchmark") as lock, tempfile.TemporaryDirectory(dir=folder) as scratch:
        cache = TileCache(store, None, Path(scratch), streams=False)
        digests = {kind: ZipDigest() for kind in KINDS}
        tiles = [
            _finished(n, [patches * i // _TILES for i in (n, n + 1)], cache, digests) for n in range(_TILES)
        ]
        recipe = Recipe(_record(), Selection(), Rendering())
        before, began = _peak_mib(), time.process_time()
        publish(Publication(recipe, patches, tiles, digests, None), cache, lock)
        seconds = time.process_time() - began
    print(json.dumps({"cpu_seconds": seconds, "peak_mib": _peak_mib(), "rise_mib": _peak_mib() - before}))


def _finished(n: int, ends: list[int], cache: TileCache, digests: dict[Kind, ZipDigest]) -> FinishedTile:
    tile, folder = f"{_ACQUIRED}{chr(65 + n // 26)}{chr(65 + n % 26)}", cache.scratch / "tile"
    ids = [Patch(tile, i // 100, i % 100).patch_id for i in range(ends[1] - ends[0])]
    folder.mkdir()
    shards = {}
    for kind in KINDS:
        with ShardWriter(folder / shard_file(kind)) as writer:
            crc32s = [writer.add(f"{patch_id}{SUFFIXES[kind]}", _PNGS[kind]) for patch_id in ids]
        rows = [_row(kind, patch_id, crc32) for patch_id, crc32 in zip(ids, crc32s, strict=True)]
        write_rows(rows, kind, folder / rows_file(kind))
        made = ConvertedTile(tile, len(ids), ())
        shards[kind] = cache.add(kind, f"{tile}-{kind}", made, None, folder)
        digests[kind].add(shards[kind].source, cache.store)
    rmtree(folder)
    return shards


def _row(kind: Kind, patch_id: str, crc32: int) -> dict[str, object]:
    numbers = dict.fromkeys(SCHEMAS[kind].names, len(patch_id) * crc32 % 14_400)
    known = {"patch_id": patch_id, column(kind, "size"): len(_PNGS[kind]), column(kind, "crc32"): crc32}
    return numbers | known | {"crs": 32633, "class_pixels": [{"value": v, "pixels": 4800} for v in (2, 8, 9)]}


def _record() -> RecordUsed:
    verified: Verification = "md5 as in the record"
    names = IMAGES_ARCHIVE, MAPS_ARCHIVE
    files = tuple(SourceFile(name=name, size=1, md5=32 * "0", verification=verified) for name in names)
    return RecordUsed(kind="folder", record="", version="", title="a benchmark", files=files)


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else _PATCHES)
