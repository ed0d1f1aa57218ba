"""Sources as a person names them, and records in a store."""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bigearthnet.errors import ChangedError, SourceError, StoreError
from bigearthnet.source.opening import open_source
from bigearthnet.source.stored import StoredSource, dump_record, read_mirror
from bigearthnet.store import FolderStore, Store
from bigearthnet.work.workspace import Workspace, folder
from tasks.connect import open_record

IMAGES, MAPS, METADATA = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst", "metadata.parquet"
DOCUMENT: dict[str, Any] = {
    "kind": "zenodo",
    "record_id": "10891137",
    "version": "2.0.0",
    "title": "BigEarthNet – v2",
    "files": [
        {"name": IMAGES, "size": 6, "md5": "0" * 32},
        {"name": MAPS, "size": 4, "md5": "1" * 32},
    ],
}


def open_folder(text: str) -> Store:
    return FolderStore(folder(text))


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    (tmp_path / IMAGES).write_bytes(b"images")
    (tmp_path / MAPS).write_bytes(b"maps")
    return tmp_path


@pytest.fixture
def source(archives: Path) -> StoredSource:
    return StoredSource(open_folder(str(archives)))


def describe(folder: Path, **changes: Any) -> None:
    (folder / "record.json").write_text(json.dumps(DOCUMENT | changes))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10891137", "https://zenodo.org/api/records/10891137"),
        ("http://me:a@x@127.0.0.1/x?token=b#c", "http://127.0.0.1/x"),
        ("S3://bucket/prefix", "a bucket"),
    ],
)
def test_a_source_is_told_by_its_form(text: str, shown: str) -> None:
    def open_bucket(url: str) -> Any:
        assert url == text
        return SimpleNamespace(url="a bucket", folder=None)

    assert str(open_source(text, open_bucket)) == shown


def test_a_folder_is_opened_by_its_whole_path(archives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archives)
    monkeypatch.setenv("HOME", str(archives.parent))
    for text in (".", f"~/{archives.name}", f"./../{archives.name}/"):
        assert str(open_source(text, open_folder)) == str(archives)


def test_md5s_beside_the_archives_are_read_as_md5sum_writes_them(
    source: StoredSource, archives: Path
) -> None:
    for options in ((), ("--binary",)):
        for name in (IMAGES, f"{archives}/{MAPS}"):
            done = subprocess.run(["md5sum", *options, name], cwd=archives, capture_output=True, check=True)
            (archives / f"{Path(name).name}.md5").write_bytes(done.stdout)
        assert [file.md5 for file in source.record().files] == [
            hashlib.md5((archives / name).read_bytes()).hexdigest()  # noqa: S324
            for name in (IMAGES, MAPS)
        ]
    (archives / f"{MAPS}.md5").unlink()
    assert source.record().require(MAPS).md5 is None
    for wrong in (b"", b"0" * 32, b"0" * 32 + b"  other.tar.zst\n", b"0" * 31 + b"g  " + MAPS.encode()):
        (archives / f"{MAPS}.md5").write_bytes(wrong)
        with pytest.raises(SourceError, match=rf"{MAPS}.md5 does not state the md5 of {MAPS} as md5sum"):
            source.record()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot use ''. Write the whole path"),
        ("a\0b", "cannot use"),
        ("s3:/bucket/x", "s3:/bucket/x is not a source. Name a Zenodo record"),
        ("s3:///x", "is not a source"),
        ("ftp://me:a@b/c?d", "^ftp://b/c is not a source"),
        ("$HOME/x", "without variables or quotes. A bucket"),
        ("/data/${SET}", "without variables or quotes. A bucket"),
        (" ~/x", "cannot use ' ~/x'"),
        ("'/data/x'", "cannot use"),
        ("ftp://me:a/b@c/d", "^ftp://c/d is not a source"),
        ("ftp://me:a?b@c/d", "^ftp://me is not a source"),
        ("~nosuchuser/x", "cannot use '~nosuchuser/x'"),
        ("x" * 5000, "cannot use 'xxx.*name too long"),
        ("/dev/null/x", "cannot use '/dev/null/x': Not a directory"),
        ("/dev/null", "there is no folder /dev/null. Name a Zenodo record"),
        ("nowhere", "there is no folder /.*/nowhere"),
    ],
)
def test_a_strange_source_is_refused(text: str, message: str) -> None:
    with pytest.raises((SourceError, StoreError), match=message):
        open_source(text, open_folder)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StoreError, match=r"cannot use '.*/a'"):
        folder(str(tmp_path / "a"))


def test_a_folder_to_write_to_need_not_exist(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert folder(f"{tmp_path}/link/new") == tmp_path / "real/new"
    for text in ("s3:/bucket", "s3:/AKIA:SECRET@bucket", "https://host/x?token=SECRET"):
        with pytest.raises(StoreError, match="A bucket is written s3://bucket/prefix") as caught:
            folder(text)
        assert "SECRET" not in str(caught.value)


def test_the_sample_replaces_no_file_of_others(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    work.sample.mkdir()
    (work.sample / IMAGES).write_bytes(b"mine")
    with pytest.raises(StoreError, match=f"did not put there .{IMAGES}"):
        open_record("sample", "", work)
    assert {path.name: path.read_bytes() for path in work.sample.iterdir()} == {IMAGES: b"mine"}


def test_a_sample_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    work.sample.mkdir()
    (work.sample / ".bigearthnet").touch()
    (work.sample / IMAGES).mkdir()
    with pytest.raises(StoreError, match=f"cannot write {work.sample}: there is a folder of that name"):
        open_record("sample", "", work)


def test_archives_in_a_folder_are_a_record_without_md5s(source: StoredSource, archives: Path) -> None:
    (archives / METADATA).write_bytes(b"metadata")
    (archives / "notes.txt").touch()
    record = source.record()
    assert (record.kind, record.record_id, record.version, record.title) == ("folder", "", "", "")
    assert [(file.name, file.size, file.md5, file.location) for file in record.files] == [
        (IMAGES, 6, None, f"{archives}/{IMAGES}"),
        (MAPS, 4, None, f"{archives}/{MAPS}"),
        (METADATA, 8, None, f"{archives}/{METADATA}"),
    ]
    assert all(file.etag for file in record.files)
    assert source.folder == archives
    assert source.latest() is source


def test_missing_archives_are_named_with_what_is_there(source: StoredSource, archives: Path) -> None:
    (archives / IMAGES).unlink()
    (archives / "Reference_Maps.tar").touch()
    with pytest.raises(
        SourceError, match=rf"{archives} has no {IMAGES}; it has Reference_Maps.tar, {MAPS}. Put"
    ):
        source.record()
    for index in range(120):
        (archives / f"x{index:03}").touch()
    with pytest.raises(SourceError, match=r"x000, .* \.\.\.\. Put") as caught:
        source.record()
    assert len(str(caught.value)) < 600


def test_a_mirror_is_the_record_that_was_mirrored(source: StoredSource, archives: Path) -> None:
    listed = source.record().files
    describe(archives)
    record = source.record()
    assert (record.kind, record.record_id, record.title) == ("zenodo", "10891137", "BigEarthNet – v2")
    assert record.files == tuple(replace(file, md5=str(number) * 32) for number, file in enumerate(listed)), (
        "the files that are there, with the md5s of the record"
    )
    assert json.loads(dump_record(record)) == DOCUMENT
    assert read_mirror(open_folder(str(archives.parent))) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "other"}, r"record.json does not describe a mirror \(kind: "),
        ({"title": None}, r"\(title: "),
        ({"record_id": "7](http://a)"}, r"\(record_id: "),
        ({"files": [{"name": IMAGES, "size": -1, "md5": None}]}, r"\(files.0.size: "),
        ({"files": [{"name": IMAGES, "size": 6, "md5": "../x"}]}, r"\(files.0.md5: "),
        ({"files": [{"name": IMAGES, "size": "1", "md5": None}]}, r"\(files.0.size: "),
        ({"files": DOCUMENT["files"][:1]}, f"has no {MAPS}; it has {IMAGES}. Run"),
        ({"files": [*DOCUMENT["files"], {"name": "../x", "size": 1, "md5": None}]}, r"\(files.2.name: "),
        (
            {"files": [{"name": IMAGES, "size": 7, "md5": None}, DOCUMENT["files"][1]]},
            "not those of its record.json. Run the mirror again",
        ),
    ],
    ids=str,
)
def test_another_record_json_is_refused(
    source: StoredSource, archives: Path, changes: dict[str, Any], message: str
) -> None:
    describe(archives, **changes)
    with pytest.raises(SourceError, match=message):
        source.record()


def test_a_file_is_read_from_a_byte_on(source: StoredSource) -> None:
    file = source.record().require(IMAGES)
    with source.open(file, 2) as reader:
        assert reader.read() == b"ages"


@pytest.mark.parametrize("is_mirror", [False, True])
def test_another_file_than_the_one_listed_is_refused(
    source: StoredSource, archives: Path, *, is_mirror: bool
) -> None:
    if is_mirror:
        describe(archives)
    file = source.record().require(IMAGES)
    (archives / "new").write_bytes(b"IMAGES")
    (archives / "new").replace(archives / IMAGES)
    with source.open(file) as reader, pytest.raises(ChangedError, match=f"{archives}/{IMAGES}: it was chan"):
        reader.read()
