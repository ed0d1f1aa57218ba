"""Finished tiles that are not published yet: found again whole, or not at all."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from bigearthnet.dataset.jobs import Job
from bigearthnet.dataset.tiles import TileCache
from bigearthnet.errors import ChangedError, ChecksumError, StoreError
from bigearthnet.plan.selection import TilePlan
from bigearthnet.source.stream import Mark
from bigearthnet.store import FolderStore
from bigearthnet.tile import ConvertedTile, Rejected
from bigearthnet.tile.rows import write_rows

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
MADE = ConvertedTile(TILE, 1, (Rejected(f"{TILE}_00_01", "bad"),))
MARK = Mark(7, "md5")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder as conversion leaves it."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "masks.shard").write_bytes(b"shard")
    row = {"patch_id": f"{TILE}_00_00", "mask_size": 1, "mask_crc32": 2, "class_pixels": []}
    write_rows([row], "masks", folder / "masks.parquet")
    return folder


def cache_of(tmp_path: Path, *, streams: bool = True) -> TileCache:
    return TileCache(FolderStore(tmp_path / "d"), None, tmp_path / "scratch", streams=streams)


def test_a_tile_is_found_by_the_next_run(tmp_path: Path, made: Path) -> None:
    added = cache_of(tmp_path).add("masks", "a-key", MADE, MARK, made)
    cache = cache_of(tmp_path)
    found = cache.find("masks", TILE, "a-key", "")
    assert found == added
    assert (found.tile, found.kind, found.key, found.patches) == (TILE, "masks", "a-key", 1)
    assert (found.rejected, found.mark) == (MADE.rejected, MARK)
    assert FolderStore(tmp_path / "d").open(found.source.file, found.source.start).read() == b"shard"
    assert cache.rows(found).column("patch_id").to_pylist() == [f"{TILE}_00_00"]
    assert cache.find("masks", TILE, "another-key", "") is None
    cache.clear()
    assert cache_of(tmp_path).find("masks", TILE, "a-key", "") is None
    assert not (tmp_path / "d" / ".tiles").exists()
    with pytest.raises(ChangedError, match=r"rows\.parquet was removed during the run"):
        cache.rows(found)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def of_another_version(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "mark": "another form"}))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(("members", "rows.parquet", "tile.json"), (cut, Path.unlink)),
        ("tile.json", of_another_version),
    ],
)
def test_a_tile_with_a_file_damaged_or_removed_is_not_found(
    tmp_path: Path, made: Path, name: str, damage: Callable[[Path], None]
) -> None:
    cache_of(tmp_path).add("masks", "a-key", MADE, MARK, made)
    damage(tmp_path / "d" / ".tiles" / "a-key" / name)
    assert cache_of(tmp_path).find("masks", TILE, "a-key", "") is None


def test_a_tile_with_damaged_rows_of_the_same_size_is_made_again(tmp_path: Path, made: Path) -> None:
    added = cache_of(tmp_path).add("masks", "a-key", MADE, MARK, made)
    path = tmp_path / "d" / ".tiles" / "a-key" / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-4] + b"xxxx")
    with pytest.raises(ChecksumError, match=rf"^{path} is damaged \(Parquet magic bytes .*\)\. Run again\.$"):
        cache_of(tmp_path).rows(added)
    assert cache_of(tmp_path).find("masks", TILE, "a-key", "") is None


@pytest.mark.parametrize("nth", [0, 1, 2])
def test_the_description_is_written_last(tmp_path: Path, made: Path, nth: int) -> None:
    names, folder = ["members", "rows.parquet", "tile.json"], tmp_path / "d" / ".tiles" / "a-key"
    FolderStore(tmp_path / "d").write("another", b"")
    (folder / names[nth]).mkdir(parents=True)
    with pytest.raises(StoreError, match=f"{names[nth]}: there is a folder of that name"):
        cache_of(tmp_path).add("masks", "a-key", MADE, MARK, made)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == names[:nth]
    (folder / names[nth]).rmdir()
    assert cache_of(tmp_path).find("masks", TILE, "a-key", "") is None


def test_a_tile_of_a_stream_is_reused_by_streams_alone_which_verify_it(tmp_path: Path, made: Path) -> None:
    cache_of(tmp_path).add("masks", "of-a-stream", MADE, MARK, made)
    cache_of(tmp_path).add("masks", "of-a-file", MADE, None, made)
    assert cache_of(tmp_path, streams=False).find("masks", TILE, "of-a-stream", "") is None
    found = {key: cache_of(tmp_path).find("masks", TILE, key, "") for key in ("of-a-stream", "of-a-file")}
    assert None not in found.values()
    assert cache_of(tmp_path, streams=False).find("masks", TILE, "of-a-file", "") == found["of-a-file"]
    plan = TilePlan(TILE, np.array([1], np.uint16), np.array([1], np.uint16), whole=True)
    for key, marks in (("of-a-stream", [MARK]), ("of-a-file", [])):
        job = Job(plan, False, {"masks": key}, {"masks": found[key]})  # type: ignore[dict-item]
        assert (job.marks, job.missing) == (marks, ("images",))
