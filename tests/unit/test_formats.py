"""Tars and Parquet files of a dataset, read by webdataset and datasets, against its zips and manifest."""

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from shutil import copytree
from typing import Any
from zipfile import ZipFile

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from bigearthnet.dataset import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP, PREVIEW
from bigearthnet.dataset.formats import parquet, samples, write
from bigearthnet.errors import ArchiveError, SpaceError
from bigearthnet.store import FolderStore, StoredFile
from bigearthnet.store.reader import ResumingReader
from tests.support import archives
from tests.support.pipeline import contents, prepare
from tests.support.published import ZIPS, require_whole
from tests.support.sample import Sample
from tests.unit.test_copies import fetch
from tests.unit.test_publish import StoppedError, stop_after

CODES = {"mask_classes": "clc"}
BOTH: dict[str, Any] = {"formats": ("webdataset", "parquet"), "shard_megabytes": 1}
ZIPPED = {IMAGES_ZIP, MASKS_ZIP, MANIFEST, PREVIEW}
COUNTS = {"train": (15, 3), "validation": (6, 2), "test": (3, 1)}
"""Patches of each split of the sample, and files in which they are."""


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Files, row groups, runs and what is shuffled at once are small, so that the sample has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_MEGABYTE", 150_000)
        patch.setattr(parquet, "_ROWS_A_GROUP", 4)
        patch.setattr(samples, "_RUN", 2)
        patch.setattr(samples, "_RUNS_AT_ONCE", 3)
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def packed(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with masks of 16 bits in both formats; not to be changed."""
    folder = tmp_path_factory.mktemp("packed") / "d"
    prepare(sample.folder, folder, rendering=CODES, packaging=BOTH)
    return folder


@pytest.fixture(scope="module")
def rows(packed: Path) -> dict[str, dict[str, Any]]:
    """The manifest's rows by patch."""
    return {row["patch_id"]: row for row in pq.read_table(packed / MANIFEST).to_pylist()}


def files_of(folder: Path, name: str) -> list[Path]:
    """The files of a format."""
    return sorted((folder / name).glob("*-*"))


def zipped(packed: Path, kind: str, patch_id: str) -> bytes:
    name, ending = ZIPS[kind]
    with ZipFile(packed / name) as file:
        return file.read(patch_id + ending)


def order(folder: Path) -> list[str]:
    """The patches in the order of the tars."""
    tars = [str(path) for path in files_of(folder, "webdataset")]
    return [one["__key__"] for one in webdataset.WebDataset(tars, shardshuffle=False)]


def shown(picture: Any) -> npt.NDArray[Any]:
    """Pixels of a PIL image, bands first."""
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def test_webdataset_reads_each_patch_once_with_its_bytes_and_facts(
    packed: Path, rows: dict[str, dict[str, Any]]
) -> None:
    seen = []
    for split, (patches, files) in COUNTS.items():
        tars = [f"{packed}/webdataset/{split}-{nth:06}.tar" for nth in range(files)]
        found = [list(webdataset.WebDataset(tar, shardshuffle=False)) for tar in tars]
        assert {len(one) for one in found} <= {patches // files, patches // files + 1}
        for one in (one for some in found for one in some):
            patch_id = one["__key__"]
            assert one["image.png"] == zipped(packed, "images", patch_id)
            assert one["mask.png"] == zipped(packed, "masks", patch_id)
            facts, row = json.loads(one["json"]), rows[patch_id]
            assert facts["split"] == row["split"] == split
            assert facts.pop("date") == row["date"].isoformat()
            assert len(facts) == 14
            assert facts == {name: row[name] for name in facts}
            seen.append(patch_id)
    assert sorted(seen) == list(rows)
    assert len(files_of(packed, "webdataset")) == 6


def test_datasets_loads_splits_with_images_and_facts(
    packed: Path, rows: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    loaded = datasets.load_dataset("parquet", data_dir=str(packed / "parquet"), cache_dir=str(tmp_path))
    assert {split: len(part) for split, part in loaded.items()} == {s: n for s, (n, _) in COUNTS.items()}
    seen = []
    for split, part in loaded.items():
        for one in part:
            patch_id = one["patch_id"]
            for column, kind in (("image", "images"), ("mask", "masks")):
                expected = archives.pixels(zipped(packed, kind, patch_id))
                np.testing.assert_array_equal(shown(one.pop(column)), expected)
            assert one["split"] == split
            assert one == {name: rows[patch_id][name] for name in one}
            seen.append(patch_id)
    assert sorted(seen) == list(rows)
    expected = [f"{s}-{i:05}-of-{n:05}.parquet" for s, (_, n) in COUNTS.items() for i in range(n)]
    assert [path.name for path in files_of(packed, "parquet")] == sorted(expected)
    first = pq.ParquetFile(packed / "parquet" / "train-00000-of-00003.parquet")
    assert [first.metadata.row_group(i).num_rows for i in range(first.num_row_groups)] == [4, 1]


def test_the_card_of_the_hub_has_the_images_and_says_what_the_folders_are(
    packed: Path, rows: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    loaded = datasets.load_dataset(str(packed), "images", cache_dir=str(tmp_path))
    assert {split: len(part) for split, part in loaded.items()} == {s: n for s, (n, _) in COUNTS.items()}
    first = loaded["test"][0]
    expected = archives.pixels(zipped(packed, "images", first["patch_id"]))
    np.testing.assert_array_equal(shown(first["image"]), expected)
    text = (packed / "README.md").read_text()
    assert all(f"| {name}/ | " in text for name in BOTH["formats"])


def test_both_have_one_order_in_which_places_are_mixed(packed: Path, rows: dict[str, Any]) -> None:
    tables = [pq.read_table(path) for path in files_of(packed, "parquet")]
    shuffled = [patch for table in tables for patch in table["patch_id"].to_pylist()]
    assert shuffled == order(packed)
    zip_order = {patch_id: nth for nth, patch_id in enumerate(rows)}
    positions = [zip_order[patch_id] for patch_id in shuffled]
    assert sum(abs(a - b) == 1 for a, b in pairwise(positions)) < 6
    assert len({patch_id[:-6] for patch_id in shuffled[:5]}) > 1


def test_formats_are_added_changed_and_removed_without_a_conversion(
    tmp_path: Path, sample: Sample, published_sample: Path
) -> None:
    folder = copytree(published_sample, tmp_path / "d")
    plain = contents(folder)

    def again(**packaging: Any) -> dict[str, str]:
        made = prepare(sample.folder, folder, packaging=packaging)
        assert not made.requests
        require_whole(folder)
        found = contents(folder)
        assert {name: found[name] for name in ZIPPED} == {name: plain[name] for name in ZIPPED}
        return {name: sha256 for name, sha256 in found.items() if "/" in name}

    tars = again(**(BOTH | {"formats": ("webdataset",)}))
    assert len(tars) == 6
    inodes = {name: (folder / name).stat().st_ino for name in tars}
    both = again(**(BOTH | {"formats": ("parquet", "webdataset", "parquet")}))
    assert (len(both), {name: both[name] for name in tars}) == (12, tars)
    assert {name: (folder / name).stat().st_ino for name in tars} == inodes, "tars were made again"
    fresh = tmp_path / "fresh"
    prepare(sample.folder, fresh, packaging=BOTH)
    assert contents(folder) == contents(fresh)
    (folder / "webdataset" / "train-000001.tar").unlink()
    (folder / "webdataset" / "train-000007.tar").write_bytes(bytes(1024))  # a person's, without members
    notes = {name: sha256 for name, sha256 in again(**BOTH).items() if name not in both}
    assert notes.keys() == {"webdataset/train-000007.tar"}
    before = order(folder)
    other_seed = again(**(BOTH | {"shuffle_seed": 1}))
    assert both.keys() == other_seed.keys() - notes.keys()
    assert not both.items() & other_seed.items()
    assert (sorted(order(folder)), order(folder) == before) == (sorted(before), False)
    larger = again(**(BOTH | {"shard_megabytes": 100}))
    assert len(larger.keys() - notes.keys()) == 6
    assert again() == notes
    assert not (folder / "parquet").exists()
    (folder / "webdataset" / "train-000007.tar").unlink()
    assert contents(folder) == plain


def test_a_stopped_run_gives_the_same_bytes(tmp_path: Path, sample: Sample, packed: Path) -> None:
    options: dict[str, Any] = {"rendering": CODES, "packaging": BOTH}
    with pytest.raises(StoppedError):
        prepare(sample.folder, tmp_path / "d", stop_after(3), **options)
    prepare(sample.folder, tmp_path / "d", **options)
    assert contents(tmp_path / "d") == contents(packed)


def test_a_copy_loses_files_of_formats_that_the_dataset_has_no_more(
    tmp_path: Path, sample: Sample, published_sample: Path
) -> None:
    prepare(sample.folder, tmp_path / "packed", packaging=BOTH)
    target = FolderStore(tmp_path / "copy")
    assert fetch(FolderStore(tmp_path / "packed"), target)[1]
    assert contents(tmp_path / "copy") == contents(tmp_path / "packed")
    assert fetch(FolderStore(published_sample), target, [MANIFEST]) == ([], False)
    assert fetch(FolderStore(published_sample), target) == (["README.md"], True)
    assert contents(tmp_path / "copy") == contents(published_sample)


def test_a_run_of_patches_is_read_at_once(
    tmp_path: Path, sample: Sample, published_sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_RUN", 64)
    opened, open_file = list[str](), FolderStore.open

    def count(store: FolderStore, file: StoredFile, *place: int) -> ResumingReader:
        opened.append(file.name)
        return open_file(store, file, *place)

    folder = copytree(published_sample, tmp_path / "d")
    prepare(sample.folder, folder)  # notes the files' digests
    monkeypatch.setattr(FolderStore, "open", count)
    prepare(sample.folder, folder, packaging={"shuffle_seed": 1})
    others = [opened.count(name) for name in (IMAGES_ZIP, MASKS_ZIP)]
    assert all(others), "documents were not made again"
    opened.clear()
    prepare(sample.folder, folder, packaging=BOTH)
    found = [opened.count(name) for name in (IMAGES_ZIP, MASKS_ZIP)]
    assert found == [count + len(sample.tiles) for count in others]


def test_patches_without_a_split_have_files_of_their_own(tmp_path: Path, sample: Sample) -> None:
    record = archives.linked(sample.folder, tmp_path / "r")
    unlisted = [path.split("/")[2] for path, _ in archives.members(sample.folder / archives.MAPS)][-2:]
    for path in sample.folder.glob("*.parquet"):
        listed = [row for row in pq.read_table(path).to_pylist() if row["patch_id"] not in unlisted]
        (record / path.name).unlink()
        pq.write_table(pa.Table.from_pylist(listed, pq.read_schema(path)), record / path.name)
    prepare(record, tmp_path / "d", packaging=BOTH)
    assert "parquet/unassigned-*.parquet" in (tmp_path / "d" / "README.md").read_text()
    file = tmp_path / "d" / "parquet" / "unassigned-00000-of-00001.parquet"
    assert sorted(pq.read_table(file)["patch_id"].to_pylist()) == sorted(unlisted)


def test_bytes_that_are_not_those_of_the_manifest_are_not_packed(tmp_path: Path, sample: Sample) -> None:
    folder = tmp_path / "d"
    with pytest.raises(StoppedError):
        prepare(sample.folder, folder, stop_after(4))
    shard = next((folder / ".tiles").glob("*-masks-*")) / "members"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"the masks of S2A_\w+ in \.tiles/\S+ do not match their rows\."):
        prepare(sample.folder, folder, packaging={"formats": ("parquet",)})
    assert not (folder / CARD).exists()


def test_a_full_disk_is_named_and_the_old_dataset_stays(tmp_path: Path, sample: Sample, packed: Path) -> None:
    folder, scratch = copytree(packed, tmp_path / "d"), tmp_path / "d-scratch"
    options: dict[str, Any] = {"rendering": CODES, "packaging": BOTH | {"shuffle_seed": 3}}
    for name in ("runs.arrow", "webdataset-test", "parquet-train"):

        def fill(_: object, path: Path = scratch / name) -> None:
            if not path.is_symlink():
                path.symlink_to("/dev/full")

        with pytest.raises(SpaceError, match=f"cannot write {scratch}: the disk is full"):
            prepare(sample.folder, folder, fill, **options)
        assert contents(folder) == contents(packed)


def test_stopped_before_any_file_is_replaced_the_next_run_leaves_the_same_files(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection: dict[str, Any] = {"tiles": ("*_T33*", "*_T35*")}
    new = BOTH | {"formats": ("parquet",)}
    prepare(sample.folder, tmp_path / "old", packaging=BOTH)
    prepare(sample.folder, tmp_path / "new", packaging=new, **selection)
    moves = len(contents(tmp_path / "new"))  # the note about the old files, and all but the card
    move, left = FolderStore._move, [0]

    def move_or_stop(store: FolderStore, *arguments: Any) -> StoredFile:
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError
        return move(store, *arguments)

    monkeypatch.setattr(FolderStore, "_move", move_or_stop)
    for moved in (1, 2, moves):
        folder = copytree(tmp_path / "old", tmp_path / f"{moved}")
        left[0] = moved
        with pytest.raises(StoppedError):
            prepare(sample.folder, folder, packaging=new, **selection)
        assert not (folder / CARD).exists()
        left[0] = 1000
        prepare(sample.folder, folder, packaging=new, **selection)
        assert contents(folder) == contents(tmp_path / "new"), moved
        assert not (folder / "webdataset").exists()
