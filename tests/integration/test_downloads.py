"""Files brought into a folder, from a real server that does everything wrong a server can do."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bigearthnet.errors import ChangedError, ChecksumError, SpaceError, TransferError
from bigearthnet.source import Http, RecordFile, bytes_to_download, ensure_local, fetch_file, find_local
from bigearthnet.source.download import FetchedFile
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
from bigearthnet.store.reader import Opened, ResumingReader
from bigearthnet.store.transfer import BLOCK_BYTES
from bigearthnet.work.workspace import Workspace
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, SIZE, md5, sent_headers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]  # a stall that goes unnoticed is longer

NAME = "archives/images"
FLIPPED = bytearray(CONTENT)
FLIPPED[1_000_000] ^= 0xFF


def fetch(source: ZenodoSource, file: RecordFile, store: FolderStore) -> tuple[FetchedFile, list[int]]:
    counts: list[int] = []
    fetched = fetch_file(source, file, store, NAME, counts.append)
    assert sum(counts) == file.size
    assert store.read(NAME) == CONTENT
    assert (fetched.md5, fetched.stored) == (MD5, store.head(NAME))
    return fetched, counts


def staged(store: FolderStore, suffix: str = ".part") -> Path:
    """The file that an earlier run began to write, or its note."""
    (path,) = Path(store.url).glob(f".staging/*{suffix}")
    return path


def files(store: FolderStore) -> list[str]:
    paths = Path(store.url).rglob("*")
    return sorted(path.name for path in paths if path.is_file() and path.name != ".bigearthnet")


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def begun(server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore) -> None:
    """A download that broke off after 700,000 bytes."""
    server.faults[IMAGES] = [Fault(break_after=700_000), *[Fault(status=503)] * 10]
    with pytest.raises(TransferError, match="answered 503"):
        fetch(source, file, store)
    assert staged(store).read_bytes() == CONTENT[:700_000]
    assert store.head(NAME) is None
    server.requests.clear()


def test_a_file_is_downloaded_in_place_of_an_earlier_one(
    source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    def look(_: int) -> None:
        assert store.read(NAME) == b"an older file"

    store.write(NAME, b"an older file")
    assert fetch_file(source, file, store, NAME, look).received == SIZE
    assert store.read(NAME) == CONTENT
    assert files(store) == ["images"]


def test_an_empty_file_is_downloaded(server: RecordServer, source: ZenodoSource, store: FolderStore) -> None:
    (server.folder / MAPS).write_bytes(b"")
    assert fetch_file(source, source.record().require(MAPS), store, NAME, lambda _: None).md5 == md5(b"")
    assert store.read(NAME) == b""


@pytest.mark.usefixtures("begun")
def test_a_download_goes_on_where_it_broke_off(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    fetched, _ = fetch(source, file, store)
    assert fetched.received == server.bytes_sent(IMAGES) == SIZE - 700_000
    assert sent_headers(server, "Range") == ["bytes=700000-"]
    assert sent_headers(server, "If-Range") == [f'"md5:{MD5}"']
    assert files(store) == ["images"]


@pytest.mark.usefixtures("begun")
def test_another_version_is_downloaded_from_its_beginning(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    new = Fault(etag='"new"')
    server.faults[IMAGES] = [new, replace(new, break_after=300_000), *[Fault(status=503)] * 10]
    with pytest.raises(TransferError):
        fetch(source, file, store)
    assert staged(store).read_bytes() == CONTENT[:300_000]
    server.requests.clear()
    server.faults[IMAGES] = [new, new]
    fetch(source, file, store)
    assert (sent_headers(server, "If-Range"), sent_headers(server, "Range")) == (['"new"'], ["bytes=300000-"])


@pytest.mark.usefixtures("begun")
def test_bytes_that_are_fetched_again_are_counted_once(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    server.faults[IMAGES] = [Fault(etag='"new"')] * 2
    fetched, counts = fetch(source, file, store)
    assert fetched.received == SIZE
    assert -700_000 in counts


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize("change", [{"size": 5}, {"md5": "another"}, None])
def test_the_beginning_of_another_file_is_dropped(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    store: FolderStore,
    change: dict[str, object] | None,
) -> None:
    note = staged(store, ".json")
    note.write_text("{" if change is None else json.dumps(json.loads(note.read_text()) | change))
    fetch(source, file, store)
    assert sent_headers(server, "Range") == [None]


@pytest.mark.usefixtures("begun")
def test_a_complete_beginning_is_only_checked(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    staged(store).write_bytes(CONTENT)
    assert fetch(source, file, store)[0].received == 0
    assert server.requests == []


@pytest.mark.usefixtures("begun")
def test_a_damaged_beginning_is_noticed_and_removed(
    source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    staged(store).write_bytes(b"\0" * 700_000)
    with pytest.raises(ChecksumError, match=f"the record says {MD5}"):
        fetch(source, file, store)
    assert files(store) == []


def test_a_wrong_byte_is_noticed_and_the_next_run_begins_anew(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    server.faults[IMAGES] = [Fault(flip=1_000_000)]
    message = rf"^{IMAGES} arrived with md5 {md5(FLIPPED)}, but the record says {MD5}\. It was removed\. Run"
    with pytest.raises(ChecksumError, match=message):
        fetch(source, file, store)
    assert files(store) == []
    fetch(source, file, store)


def test_without_an_md5_the_size_counts(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    server.faults[IMAGES] = [Fault(flip=1_000_000)]
    without = replace(file, md5=None)
    assert fetch_file(source, without, store, NAME, lambda _: None).md5 == md5(FLIPPED)
    with pytest.raises(ChangedError, match=f"has {SIZE - 1:,} bytes in the record"):
        fetch_file(source, replace(without, size=SIZE - 1), store, "other", lambda _: None)
    assert files(store) == ["images"]


def test_a_file_that_changes_during_a_download_leaves_nothing(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(etag='"new"')]
    with pytest.raises(ChangedError, match="changed on the server"):
        fetch(source, file, store)
    assert files(store) == []


def test_a_full_disk_is_told_in_plain_words(file: RecordFile, store: FolderStore) -> None:
    class FillsTheDisk(ZenodoSource):
        """Its first byte comes when the disk has become full."""

        def open(self, file: RecordFile, *_: object) -> ResumingReader:
            return ResumingReader(lambda start, _: Opened(self, start, None), "x", 0, file.size)

        def readinto(self, buffer: memoryview, /) -> int:
            note = staged(store, ".json")
            note.with_name(note.name.removesuffix(".json")).symlink_to("/dev/full")
            return len(buffer)

        def close(self) -> None:
            pass

    with pytest.raises(SpaceError, match=r"cannot write .*: the disk is full"):
        fetch(FillsTheDisk("http://unused", Http()), file, store)


def test_a_cancelled_download_keeps_what_arrived(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    def cancel(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_file(source, file, store, NAME, cancel)
    arrived = staged(store).stat().st_size
    assert arrived > 0
    fetch(source, file, store)
    assert sent_headers(server, "Range") == [None, f"bytes={arrived}-"]


KILLED = """
import sys
from pathlib import Path
from bigearthnet.source import Http, RecordFile, fetch_file
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
from bigearthnet.store.reader import Opened, ResumingReader
name, size, md5, url, folder = sys.argv[1:]
store = FolderStore(Path(folder))
source, file = ZenodoSource("http://unused", Http()), RecordFile(name, int(size), md5, url)
fetch_file(source, file, store, "archives/images", lambda count: print(count, flush=True))
"""


def test_a_killed_download_goes_on(
    server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=900_000)]
    arguments = [IMAGES, str(SIZE), MD5, file.location, store.url]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        arrived = 0
        while arrived + BLOCK_BYTES <= 900_000:
            arrived += int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    on_disk = staged(store).stat().st_size
    assert on_disk >= arrived - BLOCK_BYTES
    assert store.head(NAME) is None
    assert fetch(source, file, store)[0].received == server.requests[1].sent == SIZE - on_disk


def test_a_local_copy_is_downloaded_once(
    server: RecordServer, source: ZenodoSource, file: RecordFile, work: Workspace
) -> None:
    assert (find_local(source, file, work), bytes_to_download(source, file, work)) == (None, SIZE)
    local = ensure_local(source, file, work, lambda _: None)
    assert local.path == work.root / "archives" / MD5 / IMAGES
    assert (local.path.read_bytes(), local.md5, local.size) == (CONTENT, MD5, SIZE)
    assert local.verification == "md5 as in the record"
    assert (
        find_local(source, file, work)
        == ensure_local(source, file, work, lambda _: pytest.fail("read"))
        == local
    )
    assert bytes_to_download(source, file, work) == 0
    assert len(server.requests) == 1


def test_a_begun_local_copy_has_less_to_download(
    server: RecordServer, source: ZenodoSource, file: RecordFile, work: Workspace
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(status=404)]
    with pytest.raises(ValueError, match="404"):
        ensure_local(source, file, work, lambda _: None)
    assert bytes_to_download(source, file, work) == SIZE - 700_000


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
    assert (local.path, local.md5, sum(counts)) == (server.folder / IMAGES, MD5, SIZE)
    assert local.verification == "md5 computed, none to compare with"
    assert find_local(folder, file, work) == local
    assert not work.archives.exists()
    assert [path.name for path in server.folder.iterdir() if path.name.startswith(".")] == []
    with local.open() as reader:
        assert reader.read() == CONTENT


@pytest.mark.parametrize("how", ["replaced", "written", "removed"])
def test_a_file_that_changes_after_it_was_verified_is_not_read(
    folder: StoredSource, server: RecordServer, work: Workspace, how: str
) -> None:
    path = server.folder / IMAGES
    local = ensure_local(folder, folder.record().require(IMAGES), work, lambda _: None)
    with local.open() as reader:
        assert reader.read(1000) == CONTENT[:1000]
        if how == "written":
            with path.open("r+b") as file:
                file.write(b"x")
            with pytest.raises(ChangedError):
                reader.read(1000)
        else:
            path.unlink()
            if how == "replaced":
                path.write_bytes(CONTENT)
    with local.open() as reader, pytest.raises(ChangedError, match=str(path)):
        reader.read(1)


def test_a_file_in_a_folder_that_is_not_the_records_is_refused_and_stays(
    folder: StoredSource, server: RecordServer, work: Workspace
) -> None:
    file = replace(folder.record().require(MAPS), md5="0" * 32)
    with pytest.raises(
        ChecksumError, match=rf"{MAPS} has md5 {md5(b'maps')}, but the record says 0{{32}}. Replace"
    ):
        ensure_local(folder, file, work, lambda _: None)
    (server.folder / MAPS).write_bytes(b"other maps")
    with pytest.raises(ChangedError, match=f"{MAPS} was removed or replaced"):
        ensure_local(folder, file, work, lambda _: None)
    assert (server.folder / MAPS).read_bytes() == b"other maps"


class Elsewhere(StoredSource):
    """A store whose files cannot be used in place, as in a bucket."""

    def local_path(self, file: RecordFile) -> None:
        """In a bucket no file has a path."""


def test_versions_and_places_without_md5_have_copies_of_their_own(
    server: RecordServer, work: Workspace
) -> None:
    source = Elsewhere(FolderStore(server.folder))
    first = source.record().require(MAPS)
    assert ensure_local(source, first, work, lambda _: None).path.read_bytes() == b"maps"
    (server.folder / MAPS).write_bytes(b"MAPS")
    second = source.record().require(MAPS)
    assert ensure_local(source, second, work, lambda _: None).path.read_bytes() == b"MAPS"
    assert find_local(source, first, work) is not None
    assert find_local(source, replace(first, location="s3://another/place"), work) is None
    with pytest.raises(ChangedError, match="it was replaced"):
        ensure_local(source, replace(first, etag="gone"), work, lambda _: None)
