"""A published dataset out of a folder or bucket: whole, in part, interrupted, damaged."""

import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from bigearthnet.errors import (
    BusyError,
    ChecksumError,
    SourceError,
    SpaceError,
    StoreError,
)
from bigearthnet.store import FolderStore
from flows.fetch import fetch
from tests.support.published import (
    CARD,
    FILES,
    MANIFEST,
    MASKS_ZIP,
    Published,
    member,
    read_card,
    unzip_tests,
)
from tests.support.runs import Home
from tests.support.sample import Sample
from tests.support.zygote import KILLED, Kill, Zygote, steps_to_kill_at

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def dataset(prefect_server: None, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that is published in a folder; not to be changed."""
    home = Home.folder(tmp_path_factory.mktemp("published"))
    home.prepare(sample.folder)
    return home.destination


def publish(dataset: Path, home: Home, scratch: Path) -> Home:
    """Publish the same in an empty folder or bucket, to be changed."""
    copy = shutil.copytree(dataset, scratch / "copy")  # an upload to a folder links the file
    for name in FILES:
        home.place.open().upload(copy / name, name)
    return home


@pytest.fixture
def own(any_home: Home, dataset: Path, tmp_path: Path) -> Home:
    return publish(dataset, any_home, tmp_path)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def run(source: Home | Path, target: Path, **parameters: Any) -> dict[str, Any]:
    url, block = (source.url, source.block) if isinstance(source, Home) else (str(source), "")
    wanted = {"source": url, "destination": str(target), "aws_credentials": block}
    done: dict[str, Any] = fetch(**(wanted | parameters))
    return done


def inodes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_ino for name in FILES}


def visible(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if not path.parts[0].startswith(".")}


def test_a_fetched_dataset_is_the_published_one(own: Home, dataset: Path, target: Path) -> None:
    done = run(own, target)
    assert done == {"destination": str(target), "files": len(FILES) - 1, "tiles": 0, "whole": True}
    assert Published.read(target) == Published.read(dataset)
    before = inodes(target)
    run(own, target)
    assert inodes(target) == before
    data = bytearray((target / MASKS_ZIP).read_bytes())
    data[len(data) // 2] ^= 1
    (target / MASKS_ZIP).write_bytes(data)
    run(own, target)
    assert {name for name, inode in inodes(target).items() if inode != before[name]} <= {MASKS_ZIP, CARD}
    assert Published.read(target) == Published.read(dataset)


def test_chosen_files_and_tiles_come_alone_and_the_rest_later(
    own: Home, dataset: Path, target: Path, sample: Sample
) -> None:
    tile = sample.tiles[1]
    zips = {kind: f"tiles/{kind}/{tile}.zip" for kind in ("images", "masks")}
    done = run(own, target, files=["manifest.*"], tiles=[f"*{tile[-7:]}"])
    assert done == {"destination": str(target), "files": 1, "tiles": 1, "whole": False}
    assert visible(target) == {MANIFEST, *zips.values()}
    patches = next(entry["patches"] for entry in read_card(dataset)["tiles"] if entry["tile"] == tile)
    for kind, name in zips.items():
        assert unzip_tests(target / name)
        with ZipFile(target / name) as file:
            assert len(file.namelist()) == patches
            for info in file.infolist():
                patch_id = info.filename[: len(tile) + 6]
                assert patch_id.startswith(tile)
                assert file.read(info) == member(dataset, kind, patch_id)
    assert run(own, target)["whole"]
    assert visible(target) == {*FILES, *zips.values()}
    assert Published.read(dataset).sha256.items() <= Published.read(target).sha256.items()


def test_killed_before_a_step_the_target_holds_the_old_or_the_new_dataset(
    prefect_server: None, sample: Sample, dataset: Path, tmp_path: Path
) -> None:
    old = Home.folder(tmp_path / "old")
    old.prepare(sample.folder, selection={"max_patches": 1})
    before, after = Published.read(old.destination).sha256, Published.read(dataset).sha256
    with Zygote(tmp_path / "steps") as zygote:

        def run_killed(kill: Kill | None, target: Path) -> int:
            return zygote.run("fetch", kill, target, source=str(dataset), destination=str(target))

        target = shutil.copytree(old.destination, tmp_path / "undisturbed")
        assert run_killed(None, target) == 0
        steps = zygote.steps
        window = next(at for at, step in enumerate(steps, 1) if step.endswith(f"/{CARD}"))
        assert 10 < window < len(steps) - 5
        for at in steps_to_kill_at(steps, window, 6):
            target = shutil.copytree(old.destination, tmp_path / f"{at}")
            assert run_killed(Kill(at), target) == KILLED, at
            if CARD in visible(target):
                left = Published.read(target).sha256
                assert (before if left[CARD] == before[CARD] else after).items() <= left.items(), at
            assert run_killed(None, target) == 0
            assert Published.read(target).sha256 == after, at


def test_a_source_that_is_not_as_its_card_says_harms_nothing(
    home: Home, dataset: Path, target: Path, tmp_path: Path
) -> None:
    run(dataset, target, files=[MANIFEST])
    publish(dataset, home, tmp_path)
    home.place.put(MASKS_ZIP, home.files()[MASKS_ZIP][::-1])
    with pytest.raises(ChecksumError, match=MASKS_ZIP):
        run(home, target)
    home.place.remove(MASKS_ZIP)
    with pytest.raises(SourceError, match=MASKS_ZIP):
        run(home, target)
    assert visible(target) == {MANIFEST}


def test_a_target_that_cannot_take_it(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with FolderStore(target).lock("the other"), pytest.raises(BusyError, match="by run the other"):
        run(dataset, target)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
        with pytest.raises(SpaceError, match="the files to fetch"):
            run(dataset, target)
    assert visible(target) == set()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / MANIFEST).write_text("not ours")
    with pytest.raises(StoreError, match=MANIFEST):
        run(dataset, tmp_path / "foreign")
    assert [path.read_text() for path in (tmp_path / "foreign").iterdir()] == ["not ours"]
