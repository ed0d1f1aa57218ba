"""What later runs need not do again, and what they must."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bigearthnet.sample.archives import Sample
from tests.support.archives import IMAGES, linked, replace
from tests.support.published import Published, require_whole
from tests.support.record_server import RECORD, RecordServer
from tests.support.runs import Place, observed, start

pytestmark = pytest.mark.e2e

Identity = tuple[int, int]


def identities(folder: Path) -> dict[str, Identity]:
    """Inode and time of change of each file but locks, memos and results."""
    passed_over = ("results", "digests", ".lock")
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in passed_over
    }


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_a_second_run_does_nothing(server: RecordServer, place: Place, sample: Sample, transfer: str) -> None:
    start(server.record_url, place, transfer=transfer)
    before = identities(place.destination) | identities(place.work)
    server.requests.clear()
    runs = observed(server.record_url, place, transfer=transfer)
    assert {request.name for request in server.requests} == {RECORD}
    assert runs.of("extract") == []
    assert runs.of("convert") == ["Cached"] * len(sample.tiles)
    assert runs.of("index") == ["Cached"]
    assert identities(place.destination) | identities(place.work) == before


def test_another_rendering_downloads_nothing(server: RecordServer, place: Place, sample: Sample) -> None:
    start(server.record_url, place)
    server.requests.clear()
    runs = observed(server.record_url, place, rendering={"mask_classes": "clc_l3"})
    assert {request.name for request in server.requests} == {RECORD}
    assert runs.named("extract") == sorted(sample.tiles)
    assert require_whole(place.destination)["parameters"]["rendering"]["mask_classes"] == "clc_l3"


def test_another_destination_is_filled_from_what_is_there(
    server: RecordServer, place: Place, undisturbed: Published, tmp_path: Path
) -> None:
    start(server.record_url, place)
    (place.work / "archives").rename(tmp_path / "gone")
    (place.work / "archives").mkdir()
    for name in (path.relative_to(tmp_path / "gone") for path in (tmp_path / "gone").glob("*/*")):
        if name.name != IMAGES:  # which is not needed any more
            (place.work / "archives" / name).parent.mkdir(exist_ok=True)
            os.link(tmp_path / "gone" / name, place.work / "archives" / name)
    server.requests.clear()
    other = Place(place.work, tmp_path / "elsewhere")
    runs = observed(server.record_url, other)
    assert {request.name for request in server.requests} == {RECORD}
    assert runs.of("extract") == []
    assert Published.read(other.destination) == undisturbed


def test_keys_are_content_and_not_paths_or_times(sample: Sample, place: Place, tmp_path: Path) -> None:
    start(sample.folder, place)
    before = Published.read(place.destination)
    moved = linked(sample.folder, tmp_path / "moved")
    for path in moved.iterdir():
        replace(path, path.read_bytes())
    runs = observed(moved, place)
    assert runs.of("extract") == []
    assert runs.of("convert") == ["Cached"] * len(sample.tiles)
    assert Published.read(place.destination) == before


def test_one_tile_more_makes_one_tile(sample: Sample, place: Place) -> None:
    start(sample.folder, place, selection={"tiles": list(sample.tiles[:2])})
    runs = observed(sample.folder, place, selection={"tiles": list(sample.tiles[:3])})
    assert runs.named("extract") == [sample.tiles[2]]
    assert runs.named("convert", "Cached") == sorted(sample.tiles[:2])
    require_whole(place.destination)


def flip(path: Path) -> None:
    """One byte of it in place, so that what links to it changes as well."""
    with path.open("r+b") as file:
        file.seek(200)
        byte = file.read(1)[0]
        file.seek(200)
        file.write(bytes([byte ^ 1]))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("damage", "name"),
    [(Path.unlink, "images.zip"), (flip, "images.zip"), (cut, "masks.zip"), (flip, "rows.parquet")],
)
def test_a_tile_whose_files_are_gone_or_changed_is_made_again(
    sample: Sample, place: Place, damage: Callable[[Path], None], name: str
) -> None:
    start(sample.folder, place)
    before = Published.read(place.destination)
    damage(next(place.work.glob(f"tiles/{sample.tiles[2]}-*/{name}")))
    runs = observed(sample.folder, place)
    assert runs.named("extract") == runs.named("convert") == [sample.tiles[2]]
    assert len(runs.named("convert", "Cached")) == len(sample.tiles) - 1
    assert Published.read(place.destination) == before


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (Path.unlink, "bigearthnet_pngs.zip"),
        (flip, "bigearthnet_mask_pngs.zip"),
        (cut, "manifest.parquet"),
        (Path.unlink, "dataset.json"),
    ],
)
def test_a_published_file_that_is_gone_or_changed_is_published_again(
    sample: Sample, place: Place, damage: Callable[[Path], None], name: str
) -> None:
    start(sample.folder, place)
    before = Published.read(place.destination)
    damage(place.destination / name)
    runs = observed(sample.folder, place)
    assert runs.of("extract") == []
    assert Published.read(place.destination) == before


def test_results_that_cannot_be_read_are_made_again(sample: Sample, place: Place) -> None:
    start(sample.folder, place)
    before = Published.read(place.destination)
    for path in (place.work / "results").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:40])
    runs = observed(sample.folder, place)
    assert runs.of("index") == ["Completed"]
    assert runs.named("extract") == sorted(sample.tiles)
    assert Published.read(place.destination) == before
