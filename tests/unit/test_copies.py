"""Copying a dataset, files and tiles of it, from one store to another."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bigearthnet.dataset import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP, PREVIEW, Published, require_published
from bigearthnet.dataset.copies import choose, copy_file, copy_tile, finish, matching, missing_files
from bigearthnet.dataset.published import local_manifest, tile_rows
from bigearthnet.errors import (
    ChangedError,
    ChecksumError,
    SelectionError,
    SourceError,
    SpaceError,
    StoreError,
)
from bigearthnet.store import FolderStore, Partial
from tests.support.pipeline import contents, prepare
from tests.support.published import DOCUMENTS
from tests.support.sample import Sample

FILES = [IMAGES_ZIP, MASKS_ZIP, MANIFEST, *DOCUMENTS]


@pytest.fixture
def source(published_sample: Path) -> FolderStore:
    return FolderStore(published_sample)


@pytest.fixture
def published(source: FolderStore) -> Published:
    return require_published(source)


def fetch(source: FolderStore, target: FolderStore, names: Iterable[str] = ()) -> tuple[list[str], bool]:
    """Fetch files as the flow does: what was missing, and whether the target is whole now."""
    published = require_published(source)
    missing = missing_files(choose(published.card, list(names), [])[0], target)
    arrived: dict[str, Partial] = {}
    for file in missing:
        arrived[file.name] = target.resume(file.name, file.size, file.sha256)
        copy_file(file, source, published, arrived[file.name], lambda _: None)
    return [file.name for file in missing], finish(published, arrived, target)


@pytest.mark.parametrize(
    ("files", "tiles", "found"),
    [
        ([], [], (FILES, [])),
        ([MANIFEST], [], ([MANIFEST], [])),
        ([MANIFEST, "manifest.*", "*mask*"], [], ([MASKS_ZIP, MANIFEST], [])),
        ([], ["*_T29*"], ([], ["29SND", "29UPU"])),
        (["*.png"], ["*_T35*"], ([PREVIEW, "quality.png"], ["35VLG"])),
    ],
)
def test_files_and_tiles_are_chosen_by_patterns(
    published: Published, files: list[str], tiles: list[str], found: tuple[list[str], list[str]]
) -> None:
    chosen, entries = choose(published.card, files, tiles)
    assert ([file.name for file in chosen], [entry.tile[-5:] for entry in entries]) == found


@pytest.mark.parametrize(
    ("names", "patterns", "said"),
    [
        ("aAb", ["a", "c", "d"], "no links match c, d. The dataset has 3 (a, A, b)."),
        ("abcd", ["A*"], "no links match A*. The dataset has 4 (a, b, c, ...)."),
    ],
)
def test_a_pattern_without_a_match_is_named_with_what_there_is(
    names: str, patterns: list[str], said: str
) -> None:
    with pytest.raises(SelectionError, match=f"^{re.escape(said)}"):
        matching(list(names), patterns, "links")


def test_a_whole_dataset_is_copied_card_last(
    tmp_path: Path, source: FolderStore, published_sample: Path
) -> None:
    target = FolderStore(tmp_path / "d")
    assert fetch(source, target, FILES[:3]) == (FILES[:3], False)
    assert not (tmp_path / "d" / CARD).exists()
    assert fetch(source, target) == (FILES[3:], True)
    assert contents(tmp_path / "d") == contents(published_sample)
    before = (tmp_path / "d" / CARD).stat().st_mtime_ns
    assert fetch(source, target) == ([], True)
    assert (tmp_path / "d" / CARD).stat().st_mtime_ns == before
    (tmp_path / "d" / CARD).unlink()
    assert fetch(source, target, [PREVIEW]) == ([], True)
    assert contents(tmp_path / "d") == contents(published_sample)


def test_a_damaged_file_is_replaced(tmp_path: Path, source: FolderStore, published_sample: Path) -> None:
    folder = copytree(published_sample, tmp_path / "d", ignore=lambda *_: [".staging"])
    (folder / MASKS_ZIP).write_bytes(b"damaged")
    assert fetch(source, FolderStore(folder), [PREVIEW]) == ([], False)
    assert (folder / CARD).read_bytes() == (published_sample / CARD).read_bytes()
    assert fetch(source, FolderStore(folder), [MASKS_ZIP]) == ([MASKS_ZIP], True)
    assert contents(folder) == contents(published_sample)


def test_files_of_another_dataset_take_the_card_away_until_all_are_there(
    tmp_path: Path, source: FolderStore, sample: Sample, published_sample: Path
) -> None:
    folder = tmp_path / "d"
    prepare(sample.folder, folder, max_patches=3)
    before = contents(folder)
    published, target = require_published(source), FolderStore(folder)
    assert not finish(published, {}, target)  # tiles alone replace no file
    assert contents(folder) == before
    assert fetch(source, target, [MANIFEST]) == ([MANIFEST], False)
    assert not (folder / CARD).exists()
    assert fetch(source, target) == ([IMAGES_ZIP, MASKS_ZIP, *DOCUMENTS], True)
    assert contents(folder) == contents(published_sample)


@pytest.mark.parametrize("changed", [False, True])
def test_a_copy_goes_on_where_it_ended(
    tmp_path: Path, published_sample: Path, sample: Sample, *, changed: bool
) -> None:
    folder = tmp_path / "source"
    copytree(published_sample, folder, ignore=lambda *_: [".staging"])
    source, target = FolderStore(folder), FolderStore(tmp_path / "d")
    file = require_published(source).card.file(IMAGES_ZIP)
    received, counts = list[int](), list[int]()

    def stop(count: int) -> None:
        received.append(count)
        raise KeyboardInterrupt

    partial = target.resume(file.name, file.size, file.sha256)
    with pytest.raises(KeyboardInterrupt):
        copy_file(file, source, require_published(source), partial, stop)
    if changed:  # published anew, with the same bytes
        data = (folder / IMAGES_ZIP).read_bytes()
        (folder / IMAGES_ZIP).unlink()
        (folder / IMAGES_ZIP).write_bytes(data)
    partial = target.resume(file.name, file.size, file.sha256)
    position = partial.position
    copy_file(file, source, require_published(source), partial, counts.append)
    partial.commit()
    assert 0 < position == received[0] < file.size
    assert sum(counts) == file.size
    assert (tmp_path / "d" / IMAGES_ZIP).read_bytes() == (folder / IMAGES_ZIP).read_bytes()


def test_bytes_that_differ_from_the_card_are_not_kept(tmp_path: Path, published_sample: Path) -> None:
    folder = tmp_path / "source"
    copytree(published_sample, folder)
    data = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(ChecksumError, match=rf"{MANIFEST} arrived with SHA-256 .* It was removed"):
        fetch(FolderStore(folder), FolderStore(tmp_path / "d"))
    file = require_published(FolderStore(folder)).card.file(MANIFEST)
    assert FolderStore(tmp_path / "d").resume(file.name, file.size, file.sha256).position == 0
    published = require_published(FolderStore(folder))
    (folder / MANIFEST).write_bytes(data)
    partial = FolderStore(tmp_path / "d").resume(file.name, file.size, file.sha256)
    with pytest.raises(ChangedError):
        copy_file(file, FolderStore(folder), published, partial, lambda _: None)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("image_size", lambda old: [*old[:-1], 1 << 31]),
        ("patch_id", lambda old: old[::-1]),
        ("patch_id", lambda old: [*old[:-1], "é"]),
        ("patch_id", lambda old: [None, *old[1:]]),
    ],
)
def test_rows_that_do_not_match_the_card_are_refused(
    tmp_path: Path, published_sample: Path, name: str, values: Callable[[list[Any]], list[Any]]
) -> None:
    card = require_published(FolderStore(published_sample)).card
    rows = tile_rows(published_sample / MANIFEST, card, card.tiles[0].tile)
    at, field = rows.column_names.index(name), rows.schema.field(name)
    changed = rows.set_column(at, field, pa.array(values(rows.column(name).to_pylist()), field.type))
    pq.write_table(changed, tmp_path / MANIFEST)
    for entry in card.tiles[:2]:  # the second is not there at all
        with pytest.raises(ChecksumError, match=r"is damaged|do not match dataset"):
            tile_rows(tmp_path / MANIFEST, card, entry.tile)


@pytest.mark.parametrize("where", ["header", "png", "end"])
def test_a_damaged_tile_leaves_nothing(tmp_path: Path, published_sample: Path, where: str) -> None:
    folder, target = tmp_path / "source", FolderStore(tmp_path / "d")
    copytree(published_sample, folder)
    published = require_published(FolderStore(folder))
    entry = published.card.tiles[1]
    data = bytearray((folder / IMAGES_ZIP).read_bytes())
    at = {"header": entry.images.start + 31, "png": entry.images.stop - 1, "end": entry.images.start + 5_000}
    data[at[where]] ^= 1
    (folder / IMAGES_ZIP).write_bytes(data)
    published = require_published(FolderStore(folder))
    rows = tile_rows(folder / MANIFEST, published.card, entry.tile)
    with pytest.raises(ChecksumError, match=rf"{entry.tile}_\d\d_\d\d\.png in {folder} is damaged"):
        copy_tile("images", entry, rows, FolderStore(folder), published, target)
    assert contents(tmp_path / "d") == {}
    assert not list((tmp_path / "d").rglob("*.part*"))


@pytest.mark.parametrize("name", ["../out", "/{}/out", "tiles/../../out", ".staging/out", ".bigearthnet"])
def test_a_card_cannot_write_outside_of_the_target(tmp_path: Path, published_sample: Path, name: str) -> None:
    """The card, and what it names, are from a stranger: digests and sizes are right."""
    name = name.format(tmp_path)
    folder, target = tmp_path / "source", FolderStore(tmp_path / "d")
    copytree(published_sample, folder)
    card = json.loads((folder / CARD).read_text())
    before = {path for path in tmp_path.rglob("*") if "d" not in path.relative_to(tmp_path).parts[:1]}
    (file,) = [file for file in card["files"] if file["name"] == PREVIEW]
    (folder / CARD).write_text(json.dumps(card | {"files": [*card["files"], file | {"name": name}]}))
    with pytest.raises(SourceError, match="must be a path below the card's folder"):
        fetch(FolderStore(folder), target)
    published = require_published(FolderStore(published_sample))
    entry = published.card.tiles[0]
    rows = tile_rows(published_sample / MANIFEST, published.card, entry.tile)
    moved = entry.model_copy(update={"tile": f"../../{name}"})
    with pytest.raises(StoreError, match=r"cannot use .* as the name of a file in"):
        copy_tile("images", moved, rows, FolderStore(published_sample), published, target)
    assert {path for path in tmp_path.rglob("*") if "d" not in path.relative_to(tmp_path).parts[:1]} == before
    assert contents(tmp_path / "d") == {}


def test_a_manifest_elsewhere_is_copied_once(tmp_path: Path, published_sample: Path) -> None:
    class Elsewhere(FolderStore):
        folder = None  # type: ignore[assignment]  # as of a bucket

    store, scratch = Elsewhere(published_sample), tmp_path / "scratch"
    published = require_published(store)
    path = local_manifest(published, store, scratch)
    assert path.read_bytes() == (published_sample / MANIFEST).read_bytes()
    before = path.stat()
    assert local_manifest(published, store, scratch).stat() == before
    path.write_bytes(b"of another dataset")
    local_manifest(published, store, scratch)
    assert path.read_bytes() == (published_sample / MANIFEST).read_bytes()
    assert local_manifest(published, FolderStore(published_sample), scratch) == published_sample / MANIFEST
    path.unlink()
    path.symlink_to("/dev/full")
    with pytest.raises(SpaceError, match=f"cannot write {path}: the disk is full"):
        local_manifest(published, store, scratch)


@pytest.mark.parametrize("is_bucket", [True, False])
def test_a_damaged_manifest_is_named(tmp_path: Path, published_sample: Path, *, is_bucket: bool) -> None:
    copytree(published_sample, tmp_path / "d")
    data = (tmp_path / "d" / MANIFEST).read_bytes()
    (tmp_path / "d" / MANIFEST).write_bytes(data[:-9] + b"?" + data[-8:])
    store = FolderStore(tmp_path / "d")
    published = require_published(store)
    if is_bucket:
        store.__class__ = type("Elsewhere", (FolderStore,), {"folder": None})
    with pytest.raises(ChecksumError, match="is not the one that its card names"):
        local_manifest(published, store, tmp_path / "scratch")
