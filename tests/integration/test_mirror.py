"""Records copied into a folder, and into a bucket of a real S3 server."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import bigearthnet.store.s3.upload
from bigearthnet.errors import ChecksumError, SourceError, TransferError
from bigearthnet.source.download import Mirror
from bigearthnet.source.opening import Source
from bigearthnet.source.stored import StoredSource
from bigearthnet.store import FolderStore
from tests.support.places import FolderPlace, Place, new_bucket
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import IMAGES, MAPS, md5

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

MIB = 1 << 20
PART = 5 * MIB  # the least that S3 takes
CONTENT = random.Random(1).randbytes(13 * MIB + 7)
FLIPPED = bytearray(CONTENT)
FLIPPED[6 * MIB] ^= 0xFF


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return FolderPlace(tmp_path)
    return new_bucket(request.getfixturevalue("s3_server").client())


@pytest.fixture(autouse=True)
def folder(server: RecordServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record's files."""
    monkeypatch.setattr(bigearthnet.store.s3.upload, "PART_BYTES", PART)
    (server.folder / IMAGES).write_bytes(CONTENT)
    return server.folder


def mirror(source: Source, place: Place) -> int:
    """Mirror a record as the flow does; returns the bytes that were received."""
    store = place.open()
    with store.lock("the-run"):
        record, target = source.record(), Mirror(store)
        received = 0
        for file in sorted(record.files, key=lambda file: file.size):
            counts: list[int] = []
            copied = target.put(source, file, counts.append)
            received += copied.received
            assert sum(counts) in {0, file.size}
        target.finish(record)
    return received


def require_complete(place: Place, folder: Path) -> None:
    """Every file byte for byte, and nothing else but `record.json` and the marker."""
    files = place.files()
    del files[".bigearthnet"]
    files.pop(".lock", None)
    md5s = {file["name"]: file["md5"] for file in json.loads(files.pop("record.json"))["files"]}
    assert files == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert md5s == {name: md5(data) for name, data in files.items()}
    assert place.unfinished() == []


def test_a_mirror_is_the_record_and_is_left_alone_then(
    server: RecordServer, source: Source, place: Place, folder: Path
) -> None:
    record = source.record()
    assert mirror(source, place) == sum(file.size for file in record.files)
    require_complete(place, folder)
    copy = StoredSource(place.open()).record()
    assert replace(copy, files=()) == replace(record, files=())
    assert [(f.name, f.size, f.md5) for f in copy.files] == [(f.name, f.size, f.md5) for f in record.files]
    server.requests.clear()
    assert mirror(source, place) == 0
    assert [request.name for request in server.requests] == ["record"]


def break_off(server: RecordServer, source: Source, place: Place, flip: int | None = None) -> None:
    """Begin a mirror whose source breaks off in the third of three parts."""
    server.faults[IMAGES] = [Fault(flip=flip, break_after=12 * MIB), *[Fault(status=503)] * 10]
    with pytest.raises(TransferError, match=IMAGES):
        mirror(source, place)
    server.faults.clear()
    server.requests.clear()
    assert not {IMAGES, "record.json"} & place.files().keys()


def test_a_broken_mirror_goes_on_where_it_ended(
    server: RecordServer, source: Source, place: Place, folder: Path
) -> None:
    break_off(server, source, place)
    begun = 12 * MIB if isinstance(place, FolderPlace) else 2 * PART
    assert mirror(source, place) == server.bytes_sent(IMAGES) == len(CONTENT) - begun
    assert server.requests_for(MAPS) == []
    assert server.requests_for(IMAGES)[0].headers["Range"] == f"bytes={begun}-"
    require_complete(place, folder)


def test_wrong_bytes_leave_what_was_there(
    server: RecordServer, source: Source, place: Place, folder: Path
) -> None:
    server.faults[IMAGES] = [Fault(flip=6 * MIB)]
    with place.open().lock("an-earlier-run"):
        place.open().write(IMAGES, b"what was there")
    with pytest.raises(
        ChecksumError, match=f"{IMAGES} arrived with md5 {md5(FLIPPED)}, but .* {md5(CONTENT)}"
    ):
        mirror(source, place)
    assert place.files()[IMAGES] == b"what was there"
    assert place.unfinished() == []
    mirror(source, place)
    require_complete(place, folder)


def test_wrong_bytes_of_two_runs_are_removed(
    server: RecordServer, source: Source, place: Place, folder: Path
) -> None:
    break_off(server, source, place, flip=6 * MIB)
    with pytest.raises(ChecksumError, match=f"md5 {md5(FLIPPED)}"):
        mirror(source, place)
    assert not {IMAGES, "record.json"} & place.files().keys()
    mirror(source, place)
    require_complete(place, folder)


def test_files_of_an_interrupted_mirror_are_checked_and_only_wrong_ones_sent(
    server: RecordServer, source: Source, place: Place, folder: Path
) -> None:
    store = place.open()
    store.write(IMAGES, CONTENT)
    store.write(MAPS, b"MAPS")
    assert mirror(source, place) == len(b"maps")
    assert server.requests_for(IMAGES) == []
    require_complete(place, folder)


def test_a_mirror_of_a_changed_record_is_none_until_it_is_complete(
    server: RecordServer, source: Source, place: Place, folder: Path
) -> None:
    mirror(source, place)
    (folder / MAPS).write_bytes(b"MAPS")
    server.faults[MAPS] = [Fault(status=404)]
    with pytest.raises(SourceError, match="404"):
        mirror(source, place)
    assert "record.json" not in place.files()
    server.requests.clear()
    assert mirror(source, place) == len(b"MAPS")
    assert server.requests_for(IMAGES) == []
    require_complete(place, folder)


def test_files_without_md5_are_compared_by_the_computed_one(place: Place, folder: Path) -> None:
    in_folder = StoredSource(FolderStore(folder))
    assert mirror(in_folder, place) == len(CONTENT) + len(b"maps")
    require_complete(place, folder)
    assert mirror(in_folder, place) == 0
    (folder / MAPS).write_bytes(b"MAPS")
    assert mirror(in_folder, place) == len(b"MAPS")
    require_complete(place, folder)
