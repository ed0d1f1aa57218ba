"""Input that is not what it should be: the error, and that nothing is published or harmed."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from prefect.exceptions import ParameterTypeError

from bigearthnet.errors import (
    ArchiveError,
    BigEarthNetError,
    DestinationError,
    RejectedError,
    SelectionError,
    SourceError,
    SpaceError,
)
from tests.support.archives import IMAGES, MAPS, linked, members, replace, rewrite, tar
from tests.support.rasters import geotiff
from tests.support.record_server import RecordServer
from tests.support.runs import Home
from tests.support.sample import Sample

pytestmark = pytest.mark.e2e


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


def _empty(_: bytes) -> bytes:
    return b""


def _no_zstd(_: bytes) -> bytes:
    return b"PK\3\4" + bytes(2000)


def _no_tar(_: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(b"this is no tar. " * 400)


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _tar_cut(content: bytes) -> bytes:
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return zstandard.ZstdCompressor().compress(raw[: len(raw) // 2])


def _flipped(content: bytes) -> bytes:
    middle = len(content) * 3 // 4
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (IMAGES, _no_zstd),
        (IMAGES, _tar_cut),
        (IMAGES, _flipped),
        (MAPS, _empty),
        (MAPS, _cut),
        (MAPS, _no_tar),
    ],
)
def test_a_damaged_archive(record: Path, home: Home, name: str, damage: Callable[[bytes], bytes]) -> None:
    replace(record / name, damage((record / name).read_bytes()))
    fails(home, record, ArchiveError, name)
    assert home.files() == {} or name == IMAGES


@pytest.mark.parametrize("damage", [_cut, _flipped])
def test_a_damaged_archive_in_a_stream(record: Path, home: Home, damage: Callable[[bytes], bytes]) -> None:
    replace(record / IMAGES, damage((record / IMAGES).read_bytes()))
    with RecordServer(record) as server:
        fails(home, server.record_url, ArchiveError, IMAGES, transfer="stream")
    assert home.files() == {}, "tiles of a stream that is damaged are not kept"


def test_archives_without_members(record: Path, home: Home, sample: Sample) -> None:
    replace(record / IMAGES, tar([]))
    count = sample.patches
    fails(home, record, RejectedError, rf"{count} of {count} .*None is left", max_rejected=count)
    replace(record / MAPS, tar([]))
    fails(home, record, ArchiveError, rf"{MAPS}.* no patches")


def test_a_hostile_member(record: Path, home: Home) -> None:
    info = tarfile.TarInfo("../x")
    info.size = 1
    replace(record / IMAGES, tar([(info, b"x")]))
    before = {path for path in record.parent.rglob("*") if home.place.root not in path.parents}
    fails(home, record, ArchiveError, rf"{IMAGES}.*\.\./x")
    info.size = 10_000_000_000  # tarfile would want to write them
    header = info.tobuf(format=tarfile.GNU_FORMAT)
    replace(record / IMAGES, zstandard.ZstdCompressor().compress(header + bytes(4096)))
    fails(home, record, ArchiveError, rf"{IMAGES}.*10,000,000,000")
    after = {path for path in record.parent.rglob("*") if home.place.root not in path.parents}
    assert after - before <= {home.place.root}


@pytest.mark.parametrize(
    ("archive", "layer", "content", "reason"),
    [
        (IMAGES, "B03", None, "missing in the images' archive: B03"),
        (MAPS, "reference_map", None, "missing in the reference maps' archive"),
        (IMAGES, "B02", geotiff(np.ones((60, 60), np.uint16)), "B02.* 60 × 60"),
        (MAPS, "reference_map", geotiff(np.full((120, 120), 777, np.uint16)), "777"),
    ],
    ids=["no band", "no map", "60 x 60", "code 777"],
)
def test_a_bad_patch_is_rejected_by_name_and_the_old_dataset_stays(
    record: Path,
    home: Home,
    *,
    sample: Sample,
    victim: str,
    archive: str,
    layer: str,
    content: bytes | None,
    reason: str,
) -> None:
    if layer == "B03":
        home.prepare(record)
    rewrite(record / archive, lambda name, old: content if name.endswith(f"/{victim}_{layer}.tif") else old)
    said = rf"1 of {sample.patches} patches were rejected.*{victim}: .*{reason}.*Set max_rejected to 1"
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
    ("selection", "said"),
    [({"tiles": ["*_T99ZZZ"]}, r"\*_T99ZZZ.* 4 tiles"), ({"countries": ["Kosovo"]}, "Kosovo.* Austria")],
)
def test_a_selection_that_matches_nothing(
    sample: Sample, home: Home, selection: dict[str, Any], said: str
) -> None:
    fails(home, sample.folder, SelectionError, said, selection=selection)


def test_a_split_without_metadata(record: Path, home: Home) -> None:
    for path in record.glob("*.parquet"):
        path.unlink()
    fails(home, record, SelectionError, r"metadata\.parquet", selection={"splits": ["test"]})


@pytest.mark.parametrize(
    "rendering", [{"reflectance_max": 0}, {"stretch": "percentile", "percentiles": [98, 2]}]
)
def test_a_rendering_that_cannot_be(sample: Sample, home: Home, rendering: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError, match=list(rendering)[-1]):
        home.prepare(sample.folder, rendering=rendering)
    assert not home.work.exists()


def test_a_source_that_is_none(record: Path, home: Home, tmp_path: Path) -> None:
    fails(home, tmp_path / "none", SourceError, f"no folder {tmp_path}/none")
    (record / IMAGES).unlink()
    fails(home, record, SourceError, rf"{IMAGES}")


def test_metadata_that_is_no_parquet(record: Path, home: Home) -> None:
    replace(record / "metadata.parquet", b"patch_id,labels\n")
    fails(home, record, SourceError, r"metadata\.parquet")


@pytest.mark.parametrize(
    ("which", "name"),
    [("destination", "file/below"), ("work_dir", "file/below"), ("work_dir", "s3://bucket/x")],
)
def test_a_folder_that_cannot_be_used(
    sample: Sample, home: Home, tmp_path: Path, which: str, name: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    path = str(tmp_path / name) if name == "file/below" else name
    fails(home, sample.folder, DestinationError, "", **{which: path})


def test_work_folder_and_destination_in_each_other(sample: Sample, home: Home) -> None:
    inside = str(home.destination / "work")
    fails(home, sample.folder, DestinationError, "must not contain each other", work_dir=inside)


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
    fails(
        home, sample.folder, DestinationError, top.replace(".", r"\."), **{which: str(tmp_path / "foreign")}
    )
    found = [path for path in (tmp_path / "foreign").rglob("*") if path.is_file()]
    assert (found, path.read_text()) == ([path], "not ours")


def test_another_file_with_the_name_of_the_card_is_left_alone(sample: Sample, home: Home) -> None:
    home.prepare(sample.folder, selection={"max_patches": 1})
    home.place.put("dataset.json", b'{"mine": 1}')
    fails(home, sample.folder, SourceError, r"dataset\.json is not a card")


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
