import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bigearthnet.source.old.local import held, left_to_fetch, obtain
from bigearthnet.source.old.record import Record, RecordFile
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.source import dump_record, is_place, read_bucket, read_mirror

from bigearthnet.errors import SourceError
from bigearthnet.work.workspace import Workspace
from tests.support.moto_bucket import moto_bucket
from tests.support.remotes import out_of

IMAGES, MAPS, METADATA = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst", "metadata.parquet"
DOCUMENT = {
    "kind": "zenodo",
    "record_id": "10891137",
    "version": "2.0.0",
    "title": "BigEarthNet – v2",
    "files": [
        {"name": IMAGES, "size": 6, "md5": "0" * 32},
        {"name": MAPS, "size": 4, "md5": "1" * 32},
    ],
}


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with moto_bucket() as bucket:
        yield Bucket(bucket.client, bucket.place, SourceError)


def fill(bucket: Bucket, **contents: bytes) -> None:
    for name, content in ({IMAGES: b"images", MAPS: b"maps"} | contents).items():
        bucket.write(name, content)


def write_record(bucket: Bucket, **changes: Any) -> None:
    bucket.write("record.json", json.dumps(DOCUMENT | changes).encode())


@pytest.mark.parametrize(
    ("source", "place"),
    [("s3://a/b", True), ("S3://a", True), ("s3:/a", False), ("/data/s3://a", False), ("10891137", False)],
)
def test_a_place_is_known_by_its_scheme(source: str, place: bool) -> None:
    assert is_place(source) is place


def test_a_mirror_is_the_record_that_was_mirrored(bucket: Bucket) -> None:
    fill(bucket)
    write_record(bucket)
    files = (
        RecordFile(IMAGES, 6, "0" * 32, f"s3://bucket/data/{IMAGES}"),
        RecordFile(MAPS, 4, "1" * 32, f"s3://bucket/data/{MAPS}"),
    )
    record = Record("zenodo", "10891137", "2.0.0", "BigEarthNet – v2", files)
    assert read_bucket(bucket) == record
    assert json.loads(dump_record(record)) == DOCUMENT


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"kind": "other"}, "found at kind: Input should be 'zenodo' or 'folder'"),
        ({"title": None}, "found at title: "),
        ({"more": 1}, "found at more: "),
        ({"files": [{"name": IMAGES, "size": -1, "md5": None}]}, "found at files.0.size: "),
        ({"files": [{"name": IMAGES, "size": 1, "md5": "0" * 31}]}, "found at files.0.md5"),
        ({"files": DOCUMENT["files"][:1]}, f"each once, found {IMAGES};"),
        (
            {"files": [*DOCUMENT["files"], DOCUMENT["files"][0]]},
            f"each once, found {IMAGES}, {MAPS}, {IMAGES};",
        ),
        (
            {"files": [*DOCUMENT["files"], {"name": "../x", "size": 1, "md5": None}]},
            f"each once, found {IMAGES}, {MAPS}, ../x;",
        ),
    ],
    ids=str,
)
def test_a_record_of_another_form_is_refused(bucket: Bucket, changes: dict[str, Any], found: str) -> None:
    write_record(bucket, **changes)
    with pytest.raises(SourceError, match=rf"s3://bucket/data/record.json.*{re.escape(found)}"):
        read_mirror(bucket)


def test_what_is_no_json_is_refused(bucket: Bucket) -> None:
    bucket.write("record.json", b"{")
    with pytest.raises(
        SourceError, match=r"record.json, found at the document: Invalid JSON.* run the mirror"
    ):
        read_bucket(bucket)


def test_a_mirror_whose_object_is_gone_or_another_is_refused(bucket: Bucket) -> None:
    fill(bucket)
    write_record(bucket)
    bucket.delete([MAPS])
    with pytest.raises(
        SourceError, match=rf"s3://bucket/data/{MAPS} of 4 bytes .*, found no such object; run"
    ):
        read_bucket(bucket)
    bucket.write(MAPS, b"other maps")
    with pytest.raises(
        SourceError, match=rf"s3://bucket/data/{MAPS} of 4 bytes .*, found 10; run the mirror"
    ):
        read_bucket(bucket)


def test_archives_in_a_bucket_are_a_folder(bucket: Bucket) -> None:
    fill(bucket, **{METADATA: b"metadata", "other.txt": b"other", f"deeper/{METADATA}": b""})
    record = read_bucket(bucket)
    assert (record.kind, record.record_id, record.version, record.title) == ("folder", "", "", "")
    assert [(file.name, file.size, file.md5, file.location) for file in record.files] == [
        (IMAGES, 6, None, f"s3://bucket/data/{IMAGES}"),
        (MAPS, 4, None, f"s3://bucket/data/{MAPS}"),
        (METADATA, 8, None, f"s3://bucket/data/{METADATA}"),
    ]


def test_missing_archives_are_named_with_what_is_there(bucket: Bucket) -> None:
    with pytest.raises(
        SourceError, match=rf"expected {IMAGES} and {MAPS} in s3://bucket/data, found no files;"
    ):
        read_bucket(bucket)
    fill(bucket)
    bucket.delete([IMAGES])
    bucket.write("old/Reference_Maps.tar", b"")
    message = rf"expected {IMAGES} in s3://bucket/data, found {MAPS}, old/Reference_Maps.tar; put"
    with pytest.raises(SourceError, match=message):
        read_bucket(bucket)


def test_a_mirror_under_way_is_no_source(bucket: Bucket) -> None:
    fill(bucket, **{f".mirror/{MAPS}.json": b"{}"})
    with pytest.raises(
        SourceError, match=rf"s3://bucket/data, found one .*not finished \(.mirror/{MAPS}.json\)"
    ):
        read_bucket(bucket)
    write_record(bucket)
    assert read_bucket(bucket).kind == "zenodo"


@pytest.mark.parametrize("mirrored", [True, False])
def test_another_edition_of_an_archive_without_md5_is_fetched_anew(
    bucket: Bucket, tmp_path: Path, mirrored: bool
) -> None:
    workspace = Workspace(tmp_path)
    fill(bucket)
    if mirrored:
        files = [file | {"md5": None} for file in DOCUMENT["files"]]  # type: ignore[attr-defined]
        write_record(bucket, kind="folder", files=files)
    first = read_bucket(bucket).require(MAPS)
    fetched = obtain(out_of(bucket), first, workspace, lambda _: None)
    assert fetched.path.read_bytes() == b"maps"
    assert held(read_bucket(bucket).require(MAPS), workspace) == fetched
    bucket.write(MAPS, b"MAPS")
    second = read_bucket(bucket).require(MAPS)
    assert (held(second, workspace), left_to_fetch(second, workspace)) == (None, 4)
    assert obtain(out_of(bucket), second, workspace, lambda _: None).path.read_bytes() == b"MAPS"


def test_archives_of_two_places_are_not_taken_for_each_other(bucket: Bucket, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    fill(bucket)
    maps = read_bucket(bucket).require(MAPS)
    obtain(out_of(bucket), maps, workspace, lambda _: None)
    assert held(maps, workspace) is not None
    assert held(replace(maps, location=f"s3://bucket/other/{MAPS}"), workspace) is None
