"""Subsets of a published dataset: from folder and bucket, interrupted, of other masks, of subsets."""

import hashlib
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import bigearthnet.dataset.members
from bigearthnet.errors import ChecksumError, SelectionError, SourceError, SpaceError, StoreError
from bigearthnet.store import FolderStore
from bigearthnet.store.base import StoredFile
from bigearthnet.store.reader import ResumingReader
from flows.subset import subset
from flows.sync import sync
from tests.support.archives import linked
from tests.support.places import BucketPlace
from tests.support.published import (
    CARD,
    IMAGES_ZIP,
    MANIFEST,
    MASKS_ZIP,
    ZIPS,
    Published,
    member,
    patch_ids,
    read_card,
    require_whole,
    unzip_tests,
)
from tests.support.runs import Home
from tests.support.sample import Sample
from tests.support.zygote import KILLED, Kill, Zygote

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick"), pytest.mark.timeout(900)]

SOME = {"splits": ["train", "test"], "max_patches": 6, "choose": "random", "seed": 3}
OF_PLACE = {"image_offset", "mask_offset"}
"""Columns that say where a patch is in the zips."""


def prepared(sample: Sample, folder: Path, **parameters: Any) -> Path:
    home = Home.folder(folder)
    home.prepare(sample.folder, **parameters)
    return home.destination


@pytest.fixture(scope="module")
def dataset(prepared_codes: Path) -> Path:
    return prepared_codes


@pytest.fixture(scope="module")
def some(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A subset of it; not to be changed."""
    home = Home.folder(tmp_path_factory.mktemp("some"))
    run(dataset, home, selection=SOME)
    return home.destination


def run(source: Path | str, home: Home, **parameters: Any) -> dict[str, Any]:
    done: dict[str, Any] = subset(**({"source": str(source)} | home.options | parameters))
    return done


def rows(dataset: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(dataset / MANIFEST).to_pylist()
    return found


def test_patches_and_rows_are_those_of_the_dataset(dataset: Path, some: Path) -> None:
    card, before = require_whole(some), {row["patch_id"]: row for row in rows(dataset)}
    assert len(rows(some)) == card["counts"]["patches"] == card["counts"]["asked_for"] == 6
    for row in rows(some):
        original = before[row["patch_id"]]
        assert {k: v for k, v in row.items() if k not in OF_PLACE} == {
            k: v for k, v in original.items() if k not in OF_PLACE
        }
        assert row["split"] in SOME["splits"]  # type: ignore[operator]
        for kind, (name, _) in ZIPS.items():
            png, data = member(dataset, kind, row["patch_id"]), (some / name).read_bytes()
            assert member(some, kind, row["patch_id"]) == png
            assert data[row[f"{kind[:-1]}_offset"] :].startswith(png)
    assert [row["patch_id"] for row in rows(some)] == patch_ids(some, "images") == patch_ids(some, "masks")
    assert all(unzip_tests(some / name) for name in (IMAGES_ZIP, MASKS_ZIP))
    assert len(pq.ParquetFile(some / MANIFEST).schema_arrow) == len(pq.read_schema(dataset / MANIFEST))


def test_the_card_says_what_it_was_made_of_and_sums_are_made_anew(dataset: Path, some: Path) -> None:
    card, before = read_card(some), read_card(dataset)
    (step,) = card["subset"]
    assert step["card_sha256"] == hashlib.sha256((dataset / CARD).read_bytes()).hexdigest()
    assert SOME.items() <= step["selection"].items()
    assert (card["source"], card["parameters"]) == (before["source"], before["parameters"])
    assert before["subset"] == []
    table = rows(some)
    assert card["counts"]["splits"] == dict(Counter(row["split"] for row in table))
    for i, channel in enumerate(("red", "green", "blue")):
        mean = sum(row[f"{channel}_sum"] for row in table) / (14_400 * len(table))
        assert card["images"]["all"]["mean"][i] == pytest.approx(mean)
    pixels = [one for row in table for one in row["class_pixels"]]
    for entry in card["mask_classes"]:
        expected = sum(one["pixels"] for one in pixels if one["value"] == entry["value"])
        assert entry["pixels"]["all"] == expected


def test_folder_and_bucket_give_the_same_bytes(
    dataset: Path, some: Path, home: Home, bucket_home: Home
) -> None:
    expected = Published.read(some)
    run(dataset, bucket_home, selection=SOME)
    assert bucket_home.sha256() == expected
    assert isinstance(bucket_home.place, BucketPlace)
    place = BucketPlace(bucket_home.place.client, bucket_home.place.bucket, "all")
    for name in Published.read(dataset).sha256:
        place.put(name, (dataset / name).read_bytes())
    run(place.open().url, home, selection=SOME, aws_credentials=bucket_home.block)
    assert home.sha256() == expected
    versions = bucket_home.versions()
    run(place.open().url, bucket_home, selection=SOME)
    assert bucket_home.versions() == versions


@pytest.mark.parametrize(("before", "after"), [("clc", "ben19"), ("clc", "clc_l1"), ("clc_l3", "ben19")])
def test_derived_masks_are_those_that_prepare_makes(
    sample: Sample, dataset: Path, home: Home, tmp_path: Path, before: str, after: str
) -> None:
    if before != "clc":
        dataset = prepared(sample, tmp_path / "before", rendering={"mask_classes": before})
    run(dataset, home, mask_classes=after)
    expected = prepared(sample, tmp_path / "after", rendering={"mask_classes": after})
    for name in (IMAGES_ZIP, MASKS_ZIP, MANIFEST):
        assert (home.destination / name).read_bytes() == (expected / name).read_bytes()
    card, made = read_card(home.destination), read_card(expected)
    differing = {key for key in made if card[key] != made[key]}
    assert differing == {"subset", "tiles"}  # keys of tiles that were selected by their names


def test_what_prepare_and_other_subsets_left_is_used(
    sample: Sample, dataset: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second subset copies only the tile that differs; prepare takes what it can and leaves no subset."""
    run(dataset, home, selection={"max_patches": 8})
    copied = list[str]()
    copy = bigearthnet.dataset.members.copy_members
    monkeypatch.setattr(
        "tasks.subset.copy_members", lambda job, *rest: (copied.append(job.plan.tile), copy(job, *rest))[1]
    )
    run(dataset, home, selection={"max_patches": 9})
    assert copied == [sample.tiles[2]]
    require_whole(home.destination)
    run(home.url, Home.folder(tmp_path / "again"), selection={"max_patches": 4})
    again = read_card(tmp_path / "again" / "store")
    assert [step["selection"]["max_patches"] for step in again["subset"]] == [9, 4]
    with pytest.raises(SourceError, match="is a subset of another dataset"):
        sync(**home.options, source=str(sample.folder))
    home.prepare(sample.folder, rendering={"mask_classes": "clc"})
    assert Published.read(home.destination) == Published.read(dataset)


def test_patches_that_stand_together_are_read_at_once(
    dataset: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = list[tuple[str, int]]()
    real_open = FolderStore.open

    def count(self: FolderStore, file: StoredFile, start: int = 0, stop: int | None = None) -> ResumingReader:
        if self.folder == dataset and file.name == IMAGES_ZIP:
            opened.append((file.name, start))
        return real_open(self, file, start, stop)

    monkeypatch.setattr(FolderStore, "open", count)
    wanted = {"selection": {"max_patches": 15, "choose": "random"}}
    run(dataset, home, **wanted)
    tiles = read_card(home.destination)["counts"]["tiles"]
    assert len(opened) == tiles
    opened.clear()
    monkeypatch.setattr("bigearthnet.dataset.members.BRIDGED_BYTES", 100)  # a header has fewer
    other = Home.folder(home.work / "other")
    run(dataset, other, **wanted)
    at = {patch: i for i, patch in enumerate(patch_ids(dataset, "images"))}
    places = [(patch[:-6], at[patch]) for patch in patch_ids(other.destination, "images")]
    runs = 1 + sum(a != c or d - b > 1 for (a, b), (c, d) in pairwise(places))
    assert tiles < len(opened) == runs
    assert other.sha256() == home.sha256()


def test_killed_in_the_middle_it_leaves_no_card_and_the_next_run_goes_on(
    prefect_server: None, dataset: Path, some: Path, tmp_path: Path
) -> None:
    expected = Published.read(some)
    with Zygote(tmp_path / "steps") as zygote:
        for kill in (None, Kill(60), Kill(1, "mask_pngs.zip"), Kill(1, "rename .*/dataset.json")):
            home = Home.folder(tmp_path / str(kill))
            wanted = {"source": str(dataset), **home.options, "selection": SOME}
            status = zygote.run("subset", kill, home.destination, **wanted)
            assert (status, home.is_published()) == ((KILLED, False) if kill else (0, True)), kill
            assert status == 0 or zygote.run("subset", None, home.destination, **wanted) == 0
            assert home.sha256() == expected


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"selection": {"countries": ["Kosovo"], "months": [1]}}, "no patch matches countries"),
        ({"source": "/nowhere"}, "there is no dataset in /nowhere"),
        ({"source": "ben19", "mask_classes": "clc_l1"}, "cannot make clc_l1 masks from ben19 masks"),
        ({"destination": "source"}, "is the source and the destination"),
        ({"destination": "foreign"}, "theirs.txt"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    dataset: Path, published_sample: Path, home: Home, parameters: dict[str, Any], said: str
) -> None:
    foreign = home.work.parent / "foreign"
    foreign.mkdir(parents=True)
    (foreign / "theirs.txt").write_text("theirs")
    places = {"ben19": str(published_sample), "source": str(dataset), "foreign": str(foreign)}
    named = {
        k: places.get(value, value) if isinstance(value, str) else value for k, value in parameters.items()
    }
    before = Published.read(dataset)
    with pytest.raises((SelectionError, SourceError, StoreError), match=said):
        run(**{"source": dataset, "home": home, **named})
    assert not home.is_published()
    assert Published.read(dataset) == before
    assert [path.name for path in foreign.iterdir()] == ["theirs.txt"]


def test_a_damaged_member_and_a_full_disk_leave_the_old_subset(
    dataset: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(dataset, home, selection={"max_patches": 2})
    before = home.sha256()
    damaged = shutil.copytree(dataset, tmp_path / "damaged")
    row = rows(dataset)[4]
    data = bytearray((damaged / MASKS_ZIP).read_bytes())
    data[row["mask_offset"] + row["mask_size"] // 2] ^= 1
    (damaged / MASKS_ZIP).unlink()
    (damaged / MASKS_ZIP).write_bytes(data)
    with pytest.raises(ChecksumError, match=f"{row['patch_id']}_mask.png in {damaged} is damaged"):
        run(damaged, home)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
        with pytest.raises(SpaceError, match="or select fewer patches"):
            run(dataset, home)
    left = home.sha256().sha256
    assert before.sha256.items() <= left.items()
    assert all(name in before.sha256 or name.startswith(".tiles/") for name in left)


def test_without_metadata_tiles_months_and_numbers_still_select(
    sample: Sample, dataset: Path, home: Home, tmp_path: Path
) -> None:
    """In prepare, and in a subset of what it has made."""
    bare = linked(sample.folder, tmp_path / "record")
    for path in bare.glob("*.parquet"):
        path.unlink()
    source, tile = Home.folder(tmp_path / "bare"), sample.tiles[-1]
    source.prepare(bare, selection={"tiles": [f"*{tile[-7:]}"], "max_patches": 7})
    ids = [patch_id for patch_id in patch_ids(dataset, "images") if patch_id.startswith(tile)]
    run(source.destination, home, selection={"months": list(range(1, 13)), "max_patches": 5})
    facts = ("split", "labels", "country", "contains_seasonal_snow", "contains_cloud_or_shadow")
    for made, count in ((source.destination, 7), (home.destination, 5)):
        assert [row["patch_id"] for row in rows(made)] == ids[:count]
        assert {row[fact] for row in rows(made) for fact in facts} == {None}
        card = read_card(made)
        assert (card["counts"]["splits"], card["images"].keys()) == ({}, {"all"})
    with pytest.raises(SelectionError, match="prepared without the record's metadata"):
        run(source.destination, home, selection={"splits": ["train"]})
