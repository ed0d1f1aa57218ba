"""Datasets prepared in any number of tries, out of what is published already, and with files lost."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bigearthnet import errors
from bigearthnet.dataset import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP, PREVIEW
from bigearthnet.dataset.build import require_few_rejected
from bigearthnet.dataset.published import find_published, require_published
from bigearthnet.dataset.replace import forget_old_files, replace_dataset
from bigearthnet.dataset.tiles import FinishedTile
from bigearthnet.plan import recipe
from bigearthnet.plan.recipe import KINDS
from bigearthnet.store import FolderStore, Piece, Range
from bigearthnet.tile import Rejected
from tests.support import archives
from tests.support.pipeline import Prepared, contents, prepare
from tests.support.published import DOCUMENTS, ZIPS, member, patch_ids, require_whole, unzip_tests
from tests.support.sample import Sample


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # most of the time otherwise


class StoppedError(Exception):
    """Ends a run."""


def stop_after(tiles: int) -> Callable[[FinishedTile], None]:
    left = iter(range(tiles - 1))

    def on_tile(_: FinishedTile) -> None:
        if next(left, None) is None:
            raise StoppedError

    return on_tile


def read(prepared: Prepared) -> tuple[int, int]:
    """How many images and maps were asked of the archives."""
    requests = prepared.requests.values()
    return sum(len(one.images) for one in requests), sum(len(one.maps) for one in requests)


def test_a_dataset_is_whole_and_its_tiles_follow_each_other(published_sample: Path, sample: Sample) -> None:
    require_whole(published_sample)
    card = require_published(FolderStore(published_sample)).card
    assert [file.name for file in card.files] == [IMAGES_ZIP, MASKS_ZIP, MANIFEST, *DOCUMENTS]
    assert contents(published_sample).keys() == {*(file.name for file in card.files), CARD}
    assert all(unzip_tests(published_sample / name) for name in (IMAGES_ZIP, MASKS_ZIP))
    assert (card.counts.tiles, card.counts.patches, card.counts.asked_for) == (4, 24, 24)
    assert tuple(entry.tile for entry in card.tiles) == sample.tiles
    for kind in KINDS:
        ranges = [entry.shard(kind) for entry in card.tiles]
        with ZipFile(published_sample / ZIPS[kind][0]) as file:
            first = {info.filename[: len(sample.tiles[0])]: info for info in reversed(file.infolist())}
            assert {entry.tile: entry.shard(kind).start for entry in card.tiles} == {
                tile: info.header_offset for tile, info in first.items()
            }
            assert [one.stop for one in ranges] == [*(one.start for one in ranges[1:]), file.start_dir]


def test_unzipped_images_and_masks_pair_up_by_their_sorted_names(
    tmp_path: Path, published_sample: Path
) -> None:
    rows = pq.read_table(published_sample / MANIFEST).to_pylist()
    for kind, (name, _) in ZIPS.items():
        subprocess.run(["unzip", "-q", published_sample / name, "-d", tmp_path / kind], check=True)
    images, masks = (sorted((tmp_path / kind).iterdir()) for kind in KINDS)
    for row, image, mask in zip(rows, images, masks, strict=True):
        assert (image.name, mask.name) == (f"{row['patch_id']}.png", f"{row['patch_id']}_mask.png")
        pixels = archives.pixels(image.read_bytes()).transpose(1, 2, 0)
        np.testing.assert_array_equal(Image.open(image), pixels)
        np.testing.assert_array_equal(cv2.imread(str(image))[..., ::-1], pixels)
        values = [one["value"] for one in row["class_pixels"]]
        for found in (Image.open(mask), cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)):
            assert np.unique(found).tolist() == values


@pytest.mark.parametrize("tries", [[1], [2, 3], [4], [1, 1, 1]], ids=str)
def test_any_number_of_tries_gives_the_same_bytes(
    tmp_path: Path, sample: Sample, published_sample: Path, tries: list[int]
) -> None:
    for tiles in tries:
        with pytest.raises(StoppedError):
            prepare(sample.folder, tmp_path / "d", stop_after(tiles))
        assert find_published(FolderStore(tmp_path / "d")) is None
    assert tuple(prepare(sample.folder, tmp_path / "d").requests) == sample.tiles[max(tries) :]
    assert contents(tmp_path / "d") == contents(published_sample)
    before = (tmp_path / "d" / CARD).stat().st_mtime_ns
    assert not prepare(sample.folder, tmp_path / "d").requests
    assert (tmp_path / "d" / CARD).stat().st_mtime_ns == before


CODES, PERCENTILE = {"mask_classes": "clc"}, {"stretch": "percentile"}
REUSED: list[tuple[dict[str, Any], dict[str, Any], tuple[int, int]]] = [
    ({"max_patches": 9}, {}, (15, 15)),
    ({}, {"max_patches": 9}, (0, 0)),
    ({"tiles": ("*_T33*", "*_T35*")}, {}, (14, 14)),
    ({"splits": ("train",)}, {"splits": ("train", "test")}, (3, 3)),
    ({"splits": ("train", "test")}, {"splits": ("test", "validation")}, (6, 6)),
    ({"splits": ("train", "validation", "test")}, {}, (0, 0)),
    ({}, {"rendering": CODES}, (0, 24)),
    ({}, {"rendering": PERCENTILE}, (24, 0)),
    ({}, {"rendering": PERCENTILE | CODES}, (24, 24)),
    ({"rendering": CODES, "splits": ("train",)}, {}, (9, 24)),
    ({"max_patches": 9}, {"rendering": PERCENTILE}, (24, 15)),
]
"""Choices before and after, and how many images and maps are read then."""


@pytest.mark.parametrize(("before", "after", "asked"), REUSED, ids=[f"{a} to {b}" for a, b, _ in REUSED])
def test_what_is_published_is_reused_and_gives_the_bytes_of_a_fresh_run(
    tmp_path: Path,
    sample: Sample,
    published_sample: Path,
    before: dict[str, Any],
    after: dict[str, Any],
    asked: tuple[int, int],
) -> None:
    fresh = tmp_path / "fresh" if after else published_sample
    if after:
        prepare(sample.folder, fresh, **after)
    prepare(sample.folder, tmp_path / "d", **before)
    reused = prepare(sample.folder, tmp_path / "d", **after)
    assert contents(tmp_path / "d") == contents(fresh)
    require_whole(tmp_path / "d")
    assert read(reused) == asked


def test_infrared_shows_b08_b04_and_b03(tmp_path: Path, sample: Sample) -> None:
    made = prepare(sample.folder, tmp_path / "d", rendering={"bands": "infrared", "reflectance_max": 9000})
    assert read(made) == (24, 24)
    files = dict(archives.members(sample.folder / archives.IMAGES))
    patch_id = patch_ids(tmp_path / "d", "images")[7]
    folder = f"BigEarthNet-S2/{patch_id[:-6]}/{patch_id}/{patch_id}"
    dn = np.concatenate([archives.pixels(files[f"{folder}_{band}.tif"]) for band in ("B08", "B04", "B03")])
    shown = archives.pixels(member(tmp_path / "d", "images", patch_id))
    np.testing.assert_array_equal(shown, np.rint(np.clip(dn.astype(np.float64) / 9000, 0, 1) * 255))


def test_a_dataset_without_the_documents_of_this_version_gets_them(
    tmp_path: Path, sample: Sample, published_sample: Path
) -> None:
    destination = copytree(published_sample, tmp_path / "d")
    card = json.loads((destination / CARD).read_bytes())
    fewer = card | {"files": [file for file in card["files"] if file["name"] != PREVIEW]}
    older = card | {"parameters": card["parameters"] | {"beside": card["parameters"]["beside"] - 1}}
    for one in (fewer, older):
        (destination / CARD).write_text(json.dumps(one))
        assert read(prepare(sample.folder, destination)) == (0, 0)
        assert contents(destination) == contents(published_sample)


@pytest.mark.parametrize(
    ("lost", "asked"),
    [(MASKS_ZIP, (0, 24)), (IMAGES_ZIP, (24, 0)), (MANIFEST, (24, 24)), (PREVIEW, (0, 0)), (CARD, (24, 24))],
)
@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_lost_file_costs_what_only_it_held(
    tmp_path: Path, sample: Sample, published_sample: Path, lost: str, asked: tuple[int, int], damage: str
) -> None:
    path = copytree(published_sample, tmp_path / "d") / lost
    data = path.read_bytes()
    path.unlink()
    if damage == "changed" and lost != CARD:
        path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert read(prepare(sample.folder, tmp_path / "d")) == asked
    assert contents(tmp_path / "d") == contents(published_sample)


def test_changed_code_makes_again_only_its_kind_and_reuses_nothing_of_it(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(sample.folder, tmp_path / "d", max_patches=9)
    monkeypatch.setitem(recipe.FORMATS, "images", recipe.FORMATS["images"] + 1)
    assert read(prepare(sample.folder, tmp_path / "d")) == (24, 15)


def test_rejected_patches_are_named_and_stay_rejected(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, stage = archives.linked(sample.folder, tmp_path / "r"), FolderStore.stage
    reds = [path for path, _ in archives.members(sample.folder / archives.IMAGES) if path.endswith("B04.tif")]
    bad = [*reds[:3], reds[10], reds[20]]  # the whole of the first tile
    archives.rewrite(record / archives.IMAGES, lambda path, data: None if path in bad else data)

    def strict(store: FolderStore, name: str, pieces: list[Piece], sha256: str) -> Any:
        assert all(not isinstance(piece, Range) or piece.start < piece.stop for piece in pieces)
        return stage(store, name, pieces, sha256)

    monkeypatch.setattr(FolderStore, "stage", strict)  # a bucket cannot copy ranges of no bytes
    fresh = prepare(record, tmp_path / "fresh")
    reasons = {path.split("/")[2]: "missing in the images' archive: B04" for path in bad}
    assert {one.patch_id: one.reason for one in fresh.card.rejected} == reasons
    counts = fresh.card.counts
    assert (counts.tiles, counts.asked_for, counts.patches, counts.rejected) == (3, 24, 19, 5)
    require_whole(tmp_path / "fresh")
    prepare(record, tmp_path / "d", max_patches=20, rendering=CODES)
    assert read(prepare(record, tmp_path / "d")) == (4, 24 - 4)  # one of the four is bad
    assert contents(tmp_path / "d") == contents(tmp_path / "fresh")
    prepare(record, tmp_path / "d", rendering=CODES)
    assert read(prepare(record, tmp_path / "d")) == (0, 24 - 5)
    assert contents(tmp_path / "d") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("before", [{"splits": ("train", "validation", "test")}, {"tiles": ("*_T29*",)}, {}])
def test_unknown_patches_are_found_also_where_images_are_reused(
    tmp_path: Path, sample: Sample, before: dict[str, Any]
) -> None:
    record = archives.linked(sample.folder, tmp_path / "r")
    unknown = [path.split("/")[2] for path, _ in archives.members(sample.folder / archives.MAPS)][-2:]
    archives.rewrite(
        record / archives.MAPS, lambda path, data: None if path.split("/")[2] in unknown else data
    )
    for path in sample.folder.glob("*.parquet"):
        rows = [row for row in pq.read_table(path).to_pylist() if row["patch_id"] not in unknown]
        (record / path.name).unlink()
        pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), record / path.name)
    fresh = prepare(record, tmp_path / "fresh")
    assert [one.patch_id for one in fresh.card.rejected] == unknown
    prepare(record, tmp_path / "d", **before)
    if "splits" not in before:
        prepare(record, tmp_path / "d", rendering=CODES)
    prepare(record, tmp_path / "d")
    assert contents(tmp_path / "d") == contents(tmp_path / "fresh")


def finished(patches: int, rejected: int) -> FinishedTile:
    bad = tuple(Rejected(f"p{i}", "bad") for i in range(rejected))
    shard = SimpleNamespace(patches=patches, rejected=bad)
    return {"images": shard, "masks": shard}  # type: ignore[dict-item]  # only these two are looked at


def test_too_many_rejected_patches_end_the_run() -> None:
    tiles = [finished(3, 1), finished(4, 6)]
    require_few_rejected(tiles, 14, 7)
    named = r"\(p0: bad; p0: bad; p1: bad; p2: bad; p3: bad; \.\.\.\)\. Check the source\. "
    message = rf"^7 of 14 patches were rejected, max_rejected is 6 {named}Set max_rejected to 7 to publish"
    with pytest.raises(errors.RejectedError, match=message):
        require_few_rejected(tiles, 14, 6)
    with pytest.raises(errors.RejectedError, match=r"\(p0: bad\)\. Check the source\. None is left"):
        require_few_rejected([finished(0, 1)], 1, 1)


def test_a_folder_in_the_way_is_found_before_the_old_card_goes(tmp_path: Path, sample: Sample) -> None:
    folder = tmp_path / "d"
    prepare(sample.folder, folder, max_patches=3)
    (folder / PREVIEW).unlink()
    (folder / PREVIEW).mkdir()
    before = (folder / CARD).read_bytes()
    for _ in range(2):
        with pytest.raises(errors.StoreError, match=f"cannot write {folder}/{PREVIEW}: there is a folder"):
            prepare(sample.folder, folder)
        assert (folder / CARD).read_bytes() == before
    (folder / PREVIEW).rmdir()
    assert read(prepare(sample.folder, folder)) == (0, 0)
    require_whole(folder)


def test_another_file_with_the_name_of_the_card_is_left_alone(tmp_path: Path, sample: Sample) -> None:
    store = FolderStore(tmp_path / "d")
    store.write(CARD, b'{"mine": 1}')
    with pytest.raises(errors.SourceError, match=r"dataset\.json is not a card"):
        prepare(sample.folder, tmp_path / "d")
    assert store.read(CARD) == b'{"mine": 1}'


def test_a_run_that_lost_its_lock_changes_nothing(tmp_path: Path, sample: Sample) -> None:
    folder = tmp_path / "d"
    prepare(sample.folder, folder, max_patches=3)
    before = contents(folder)
    with pytest.raises(errors.BusyError, match="lost the lock"):
        prepare(sample.folder, folder, lambda _: (folder / ".lock").unlink(missing_ok=True))
    after = contents(folder)
    assert {name: after[name] for name in before} == before


def test_a_full_disk_is_named_and_the_old_dataset_stays(
    tmp_path: Path, sample: Sample, published_sample: Path
) -> None:
    folder, scratch = tmp_path / "d", tmp_path / "d-scratch"
    prepare(sample.folder, folder, max_patches=3)
    before = contents(folder)
    for name in (MANIFEST, "masks.central", PREVIEW):

        def fill(_: FinishedTile, path: Path = scratch / name) -> None:
            if not path.is_symlink():
                path.symlink_to("/dev/full")

        with pytest.raises(errors.SpaceError, match=f"cannot write {scratch}: the disk is full"):
            prepare(sample.folder, folder, fill)
        after = contents(folder)
        assert {file: after[file] for file in before} == before
    prepare(sample.folder, folder)
    assert contents(folder) == contents(published_sample)


def found_with(*names: str) -> Any:
    """What is published, with a card that names these files."""
    return SimpleNamespace(
        data=b"old", card=SimpleNamespace(files=[SimpleNamespace(name=name) for name in names])
    )


@pytest.mark.parametrize(
    ("files", "failing", "card"), [(2, 0, b"old"), (2, 1, None), (2, 2, b"new"), (0, 0, b"new")]
)
def test_the_old_card_comes_back_only_if_nothing_has_changed(
    tmp_path: Path, files: int, failing: int, card: bytes | None
) -> None:
    store, calls = FolderStore(tmp_path / "d"), list[bytes | None]()

    def commit(nth: int) -> None:
        calls.append(store.read(CARD))
        if nth == failing:
            raise KeyboardInterrupt

    store.write(CARD, b"old")
    commits = [lambda nth=nth: commit(nth) for nth in range(files)]
    try:
        replace_dataset(store, commits, (), b"new", found_with())
    except KeyboardInterrupt:
        assert failing < files
    assert store.read(CARD) == card
    assert set(calls) <= {None}


def test_files_that_only_an_old_card_named_are_removed_also_after_kills(tmp_path: Path) -> None:
    """Three runs: the first is killed when it has made a file visible, the second when it removes some."""
    store = FolderStore(tmp_path / "d")
    store.write(CARD, b"old")
    for name in ("a/old", "a/both", "b/old", "b/a person's"):
        store.write(name, b"")

    def die() -> None:
        store.write("c/of the killed run", b"")
        raise KeyboardInterrupt

    moves = [lambda: store.write("a/both", b"new"), die]
    names = ["a/both", "c/of the killed run"]
    with pytest.raises(KeyboardInterrupt):
        replace_dataset(store, moves, names, b"second", found_with("a/old", "a/both", "b/old"))
    assert store.read(CARD) is None
    (tmp_path / "d" / "c" / "of the killed run").unlink()
    replace_dataset(store, [], ["a/both"], b"third", None)
    forget_old_files(store)
    assert contents(tmp_path / "d").keys() == {CARD, "a/both", "b/a person's"}
    assert not (tmp_path / "d" / "c").exists()


def test_a_dataset_must_be_there_with_all_its_files(tmp_path: Path, sample: Sample) -> None:
    folder = tmp_path / "d"
    with pytest.raises(errors.SourceError, match=f"there is no dataset in {folder}: it has no dataset.json"):
        require_published(FolderStore(folder))
    prepare(sample.folder, folder, max_patches=3)
    (folder / MASKS_ZIP).write_bytes(b"shorter")
    (folder / PREVIEW).unlink()
    message = re.escape(f"{folder} lacks files that its card names: {MASKS_ZIP}, {PREVIEW}. Publish")
    with pytest.raises(errors.SourceError, match=message):
        require_published(FolderStore(folder))


def test_a_shard_that_does_not_match_its_rows_is_noticed(tmp_path: Path, sample: Sample) -> None:
    folder = tmp_path / "d"
    with pytest.raises(StoppedError):
        prepare(sample.folder, folder, stop_after(4))
    longer = next((folder / ".tiles").glob("*-masks-*")) / "members"
    size = longer.stat().st_size
    longer.write_bytes(longer.read_bytes() + b"more")
    note = longer.with_name("tile.json")
    note.write_text(note.read_text().replace(f'"size":{size}', f'"size":{size + 4}'))
    with pytest.raises(errors.ArchiveError, match=r"the masks of S2A_.* do not match their rows"):
        prepare(sample.folder, folder)
    assert find_published(FolderStore(folder)) is None
