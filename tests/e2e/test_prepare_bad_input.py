"""Input that is not what it should be: the error, and that nothing is published or harmed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigearthnet.errors import (
    ArchiveError,
    BigEarthNetError,
    RejectedError,
    SpaceError,
    StoreError,
)
from tests.support.archives import IMAGES, MAPS, linked, members, replace, rewrite, tar
from tests.support.record_server import RecordServer
from tests.support.runs import Home
from tests.support.sample import Sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]


@pytest.fixture
def record(sample: Sample, tmp_path: Path) -> Path:
    """The sample to tamper with."""
    return linked(sample.folder, tmp_path / "record")


@pytest.fixture(scope="module")
def victim(sample: Sample) -> str:
    """A patch in the middle of the archive."""
    ids = sorted({name.split("/")[2] for name, _ in members(sample.folder / MAPS)})
    return ids[len(ids) // 2]


def fails(
    home: Home, source: str | Path, error: type[BigEarthNetError], said: str, **parameters: Any
) -> None:
    """Run with an input that is wrong; nothing is published or harmed."""
    before = home.files()
    with pytest.raises(error, match=said):
        home.prepare(source, **parameters)
    after = home.files()
    assert {name: after.get(name) for name in before} == before
    assert all(name.startswith(".tiles/") for name in after.keys() - before.keys())


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) * 3 // 4
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(("name", "damage"), [(IMAGES, flipped), (MAPS, cut)])
def test_a_damaged_archive(record: Path, home: Home, name: str, damage: Callable[[bytes], bytes]) -> None:
    replace(record / name, damage((record / name).read_bytes()))
    fails(home, record, ArchiveError, name)
    assert home.files() == {} or name == IMAGES


def test_a_damaged_archive_in_a_stream(record: Path, home: Home) -> None:
    replace(record / IMAGES, flipped((record / IMAGES).read_bytes()))
    with RecordServer(record) as server:
        fails(home, server.record_url, ArchiveError, IMAGES, transfer="stream")
    assert home.files() == {}, "tiles of a stream that is damaged are not kept"


def test_archives_without_members(record: Path, home: Home, sample: Sample) -> None:
    replace(record / IMAGES, tar([]))
    count = sample.patches
    fails(home, record, RejectedError, rf"{count} of {count} .*None is left", max_rejected=count)
    replace(record / MAPS, tar([]))
    fails(home, record, ArchiveError, rf"{MAPS}.* no patches")


def test_a_bad_patch_is_rejected_by_name_and_the_old_dataset_stays(
    record: Path, home: Home, sample: Sample, victim: str
) -> None:
    home.prepare(record)
    rewrite(record / IMAGES, lambda name, old: None if name.endswith(f"/{victim}_B03.tif") else old)
    said = rf"1 of {sample.patches} patches were rejected.*{victim}: .*: B03.*Set max_rejected to 1"
    fails(home, record, RejectedError, said)


@pytest.mark.parametrize("lacks", ["maps", "both archives"])
def test_a_patch_that_one_of_them_does_not_know_is_rejected(
    record: Path, home: Home, victim: str, lacks: str
) -> None:
    for archive in (MAPS,) if lacks == "maps" else (MAPS, IMAGES):
        rewrite(record / archive, lambda name, old: None if f"/{victim}/" in name else old)
    if lacks == "maps":
        for path in record.glob("*.parquet"):
            path.unlink()
    said = "neither a reference map nor metadata" if lacks == "maps" else "missing in the images' archive"
    fails(home, record, RejectedError, rf"{victim}: {said}")


@pytest.mark.parametrize(
    ("which", "path", "said"),
    [
        ("destination", "{home}/file/below", "Not a directory"),
        ("work_dir", "{home}/file/below", "Not a directory"),
        ("work_dir", "s3://bucket/x", "Write the whole path of a folder"),
        ("work_dir", "{home}/store/work", "must not contain each other"),
    ],
)
def test_a_folder_that_cannot_be_used(sample: Sample, home: Home, which: str, path: str, said: str) -> None:
    top = home.place.root
    top.mkdir()
    (top / "file").write_text("in the way")
    fails(home, sample.folder, StoreError, said, **{which: path.format(home=top)})


@pytest.mark.parametrize(
    ("which", "name"),
    [("destination", "manifest.parquet"), ("destination", ".tiles/x"), ("work_dir", "bundles/x")],
)
def test_files_of_others_are_refused_and_untouched(
    sample: Sample, home: Home, tmp_path: Path, which: str, name: str
) -> None:
    path = tmp_path / "foreign" / name
    path.parent.mkdir(parents=True)
    path.write_text("not ours")
    top = name.split("/", maxsplit=1)[0]
    fails(home, sample.folder, StoreError, top.replace(".", r"\."), **{which: str(tmp_path / "foreign")})
    found = [path for path in (tmp_path / "foreign").rglob("*") if path.is_file()]
    assert (found, path.read_text()) == ([path], "not ours")


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_too_little_disk_is_found_before_anything_is_fetched(
    sample: Sample, home: Home, transfer: str
) -> None:
    with RecordServer(sample.folder) as server:
        server.sizes[IMAGES if transfer == "keep" else MAPS] = 10**15
        fails(home, server.record_url, SpaceError, r"909\.5 TiB", transfer=transfer)
        assert [request.name for request in server.requests] == ["record"]


def test_too_little_disk_for_what_is_made(
    sample: Sample, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 2 * sum(path.stat().st_size for path in sample.folder.iterdir()) // 5
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    fails(home, sample.folder, SpaceError, "archives, tiles and the dataset")
    assert home.files() == {}
