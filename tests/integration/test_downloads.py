"""Files brought into a folder, from a real server that does everything wrong a server can do."""

from dataclasses import replace
from pathlib import Path

import pytest

from bigearthnet.errors import ChangedError, SourceError
from bigearthnet.source.download import FetchedFile, fetch_file
from bigearthnet.source.local import (
    bytes_to_download,
    ensure_local,
    find_local,
    is_streamed,
    keep_verified,
)
from bigearthnet.source.record import RecordFile
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.stream import Stream
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
from bigearthnet.work.workspace import Workspace
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, SIZE, md5

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer

FLIPPED = bytearray(CONTENT)
FLIPPED[1_000_000] ^= 0xFF


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def folder(server: RecordServer, tmp_path: Path) -> StoredSource:
    """The record's folder itself, as a source."""
    return StoredSource(FolderStore(server.folder))


def test_a_file_in_a_folder_is_used_in_place(
    folder: StoredSource, server: RecordServer, work: Workspace
) -> None:
    file = folder.record().require(IMAGES)
    assert bytes_to_download(folder, file, work) == 0
    counts: list[int] = []
    local = ensure_local(folder, file, work, counts.append)
    assert (local.path, local.file.md5, sum(counts)) == (server.folder / IMAGES, MD5, SIZE)
    assert local.file.verification == "md5 computed, none to compare with"
    assert find_local(folder, file, work) == local
    assert not work.archives.exists()
    assert [path.name for path in server.folder.iterdir() if path.name.startswith(".")] == []
    with local.open() as reader:
        assert reader.read() == CONTENT


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_cancelled_copy_goes_on_unless_its_source_was_replaced(
    *, server: RecordServer, folder: StoredSource, store: FolderStore, is_replaced: bool
) -> None:
    def cancel(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_file(folder, folder.record().require(IMAGES), store, cancel)
    (staged,) = Path(store.url).glob(".staging/*.part")
    arrived = staged.stat().st_size
    assert 0 < arrived < SIZE
    if is_replaced:
        staged.write_bytes(b"\0" * arrived)  # of the file before this one
        (server.folder / IMAGES).unlink()
        (server.folder / IMAGES).write_bytes(CONTENT)
    counts: list[int] = []
    fetched = fetch_file(folder, folder.record().require(IMAGES), store, counts.append)
    assert fetched == FetchedFile(store.head(IMAGES), MD5, SIZE if is_replaced else SIZE - arrived)  # type: ignore[arg-type]
    assert store.read(IMAGES) == CONTENT
    assert sum(counts) == SIZE


def test_a_file_that_changes_during_a_copy_leaves_nothing(
    server: RecordServer, folder: StoredSource, store: FolderStore
) -> None:
    def change(_: int) -> None:
        (server.folder / IMAGES).write_bytes(FLIPPED)

    with pytest.raises(ChangedError):
        fetch_file(folder, folder.record().require(IMAGES), store, change)
    assert [path for path in Path(store.url).rglob("*") if path.is_file()] == [
        Path(store.url, ".bigearthnet")
    ]


def test_a_local_copy_is_downloaded_once(
    server: RecordServer, source: ZenodoSource, file: RecordFile, work: Workspace
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(status=404)]
    assert (find_local(source, file, work), bytes_to_download(source, file, work)) == (None, SIZE)
    with pytest.raises(ValueError, match="404"):
        ensure_local(source, file, work, lambda _: None)
    assert (find_local(source, file, work), bytes_to_download(source, file, work)) == (None, SIZE - 700_000)
    local = ensure_local(source, file, work, lambda _: None)
    assert local.path == work.root / "archives" / MD5 / IMAGES
    assert (local.path.read_bytes(), local.file.md5, local.file.size) == (CONTENT, MD5, SIZE)
    assert local.file.verification == "md5 as in the record"
    assert (find_local(source, file, work), bytes_to_download(source, file, work)) == (local, 0)
    assert find_local(source, replace(file, md5="0" * 32), work) is None


@pytest.mark.parametrize("content", [CONTENT, bytes(FLIPPED), b"short"])
def test_a_local_copy_of_unknown_md5_is_read_and_replaced_if_wrong(
    *, server: RecordServer, source: ZenodoSource, file: RecordFile, work: Workspace, content: bytes
) -> None:
    path = ensure_local(source, file, work, lambda _: None).path
    path.write_bytes(content)
    assert find_local(source, file, work) is None
    counts: list[int] = []
    assert ensure_local(source, file, work, counts.append).path.read_bytes() == CONTENT
    assert sum(counts) == SIZE
    assert len(server.requests) == (1 if content == CONTENT else 2)


def test_a_file_that_changes_after_it_was_verified_is_not_read(
    folder: StoredSource, server: RecordServer, work: Workspace
) -> None:
    path = server.folder / IMAGES
    local = ensure_local(folder, folder.record().require(IMAGES), work, lambda _: None)
    path.write_bytes(CONTENT[:-1] + b"x")
    with local.open() as reader, pytest.raises(ChangedError, match=str(path)):
        reader.read(1)


def test_an_archive_in_a_folder_whose_md5_is_stated_is_streamed_until_it_is_verified(
    folder: StoredSource, server: RecordServer, work: Workspace
) -> None:
    assert not is_streamed(folder.record().require(IMAGES), folder, work), "no md5 is stated"
    (server.folder / f"{IMAGES}.md5").write_text(f"{MD5}  {IMAGES}\n")
    file = folder.record().require(IMAGES)
    assert is_streamed(file, folder, work)
    stream = Stream(folder, file, [], lambda _: None)
    stream.verify()
    keep_verified(folder, file, work, None)
    assert not is_streamed(file, folder, work)
    assert find_local(folder, file, work) == ensure_local(folder, file, work, lambda _: None)
    (server.folder / IMAGES).write_bytes(CONTENT)
    assert is_streamed(folder.record().require(IMAGES), folder, work), "it was written anew"


def test_a_file_in_a_folder_that_is_not_the_records_is_refused_and_stays(
    folder: StoredSource, server: RecordServer, work: Workspace
) -> None:
    file = replace(folder.record().require(MAPS), md5="0" * 32)
    with pytest.raises(
        SourceError, match=rf"{MAPS} has md5 {md5(b'maps')}, but the record says 0{{32}}. Replace"
    ):
        ensure_local(folder, file, work, lambda _: None)
    (server.folder / MAPS).write_bytes(b"other maps")
    with pytest.raises(ChangedError, match=f"{MAPS}: it was changed or removed"):
        ensure_local(folder, file, work, lambda _: None)
    assert (server.folder / MAPS).read_bytes() == b"other maps"


def test_versions_and_places_without_md5_have_copies_of_their_own(
    server: RecordServer, folder: StoredSource, work: Workspace
) -> None:
    folder.folder = None  # as of a bucket
    first = folder.record().require(MAPS)
    copy = ensure_local(folder, first, work, lambda _: None).path
    copy.write_bytes(b"damaged: another size")
    assert ensure_local(folder, first, work, lambda _: None).path.read_bytes() == b"maps"
    (server.folder / MAPS).write_bytes(b"MAPS")
    second = folder.record().require(MAPS)
    assert ensure_local(folder, second, work, lambda _: None).path.read_bytes() == b"MAPS"
    assert find_local(folder, first, work) is not None
    assert find_local(folder, replace(first, location="s3://another/place"), work) is None
    with pytest.raises(ChangedError, match="changed or removed"):
        ensure_local(folder, replace(first, etag="gone"), work, lambda _: None)
