from pathlib import Path

import pytest
from bigearthnet.source.old.record import Record, RecordFile, listed, read_folder

from bigearthnet.errors import SourceError

IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(name.encode())


def test_a_folder_is_a_record_of_the_known_files_in_it(tmp_path: Path) -> None:
    fill(tmp_path, IMAGES, MAPS, "metadata.parquet", "BigEarthNet-S1.tar.zst", "notes.txt")
    record = read_folder(tmp_path)
    assert (record.kind, record.record_id, record.version) == ("folder", "", "")
    assert {file.name for file in record.files} == {IMAGES, MAPS, "metadata.parquet"}
    for file in record.files:
        assert file.size == len(file.name)
        assert Path(file.location).read_bytes() == file.name.encode()
        assert file.md5 is None
        assert file.is_local


def test_locations_stay_good_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, IMAGES, MAPS)
    monkeypatch.chdir(tmp_path)
    record = read_folder(Path())
    assert [Path(file.location) for file in record.files] == [tmp_path / IMAGES, tmp_path / MAPS]


def test_a_folder_without_an_archive_is_no_source(tmp_path: Path) -> None:
    fill(tmp_path, IMAGES, "Reference_Maps.tar")
    with pytest.raises(SourceError, match=rf"expected {MAPS} in .*, found {IMAGES}, Reference_Maps.tar; put"):
        read_folder(tmp_path)


def test_a_folder_in_an_archives_place_is_no_archive(tmp_path: Path) -> None:
    fill(tmp_path, MAPS)
    (tmp_path / IMAGES).mkdir()
    with pytest.raises(SourceError, match=f"expected {IMAGES} in"):
        read_folder(tmp_path)


def test_an_empty_folder_names_both_archives(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"expected {IMAGES} and {MAPS} in .*, found no files"):
        read_folder(tmp_path)


def test_no_folder_says_what_a_source_can_be(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"id, URL, DOI, s3://.*, or a folder .*, found no folder at .*nowhere"
    ):
        read_folder(tmp_path / "nowhere")


def test_files_are_found_by_name() -> None:
    metadata = RecordFile("metadata.parquet", 3, None, "https://zenodo.org/m")
    record = Record("zenodo", "7", "1", "", (metadata,))
    assert record.require("metadata.parquet") is record.file("metadata.parquet") is metadata
    assert record.file(MAPS) is None
    with pytest.raises(SourceError, match=f"expected {MAPS} in record 7, found metadata.parquet"):
        record.require(MAPS)


@pytest.mark.parametrize(
    ("location", "local"),
    [
        *(("https://a/b", False), ("HTTP://a/b", False), ("s3://a/b", False), ("S3://a/b", False)),
        *(("/data/https://b", True), ("/data/s3://b", True), ("/data/b", True)),
    ],
)
def test_local_means_a_path(location: str, local: bool) -> None:
    assert RecordFile("b", 0, None, location).is_local is local


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b", "c"], most=3) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"], most=3) == "a, b, c and 2 more"
