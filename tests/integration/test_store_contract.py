"""What every store promises, shown by a folder, by moto, and by OpenStack Swift."""

import hashlib
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import bigearthnet.store.reader
import bigearthnet.store.s3.upload
from bigearthnet.errors import BusyError, ChangedError, StoreError
from bigearthnet.store import Partial, Range, Store, StoredFile
from tests.support.places import FolderPlace, Place, moto_place, new_bucket
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration

MIB = 1 << 20
DATA = random.Random(1).randbytes(13 * MIB + 7)
SHA256 = hashlib.sha256(DATA).hexdigest()
NOT_OURS = {"holiday.jpg": b"of somebody"}


@pytest.fixture(params=["folder", "moto", "swift"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        yield FolderPlace(tmp_path)
    elif request.param == "moto":
        with moto_place() as moto:
            yield moto
    else:
        yield new_bucket(request.getfixturevalue("s3_server").client())


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigearthnet.store.s3.upload, "PART_BYTES", 5 * MIB)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


def published(place: Place) -> dict[str, bytes]:
    return {name: data for name, data in place.files().items() if not name.startswith(".")}


def look(store: Store, name: str) -> StoredFile:
    file = store.head(name)
    assert file is not None
    return file


def begin(store: Store, name: str, size: int, version: str, data: bytes) -> Partial:
    """Begin a file of which nothing is there."""
    partial = store.resume(name, size, version)
    assert partial.position == 0
    partial.append([memoryview(data)])
    return partial


def test_what_is_written_is_found_and_replaced(place: Place, store: Store) -> None:
    assert store.head("a/card.json") is None
    assert store.read("a/card.json") is None
    first = store.write("a/card.json", b"first")
    assert first == look(place.open(), "a/card.json")
    assert (first.name, first.size) == ("a/card.json", 5)
    second = store.write("a/card.json", b"other")
    assert second.etag != first.etag
    assert store.read("a/card.json") == b"other"
    assert published(place) == {"a/card.json": b"other"}
    assert store.digest(second) == hashlib.sha256(b"other").hexdigest()


def test_a_listing_is_sorted_and_leaves_out_what_is_the_stores_own(place: Place, store: Store) -> None:
    with store.lock("run"):
        begin(store, "c", 9, "v1", b"123")
        for name in ("b", "a/2", "a-b", "a/1/x", "ab"):
            store.write(name, name.encode())
        names = [file.name for file in place.open().list()]
        assert names == ["a-b", "a/1/x", "a/2", "ab", "b"]
        assert [look(store, name) for name in names] == list(store.list())
        assert [file.name for file in store.list("a/")] == ["a/1/x", "a/2"]
        assert [file.name for file in store.list("a/1/")] == ["a/1/x"]
        assert list(store.list("c/")) == []


def test_removed_files_are_gone_and_missing_ones_do_not_matter(place: Place, store: Store) -> None:
    assert list(store.list()) == []
    for name in ("a/1", "a/2", "b"):
        store.write(name, b"")
    store.delete(["a/1", "not there", "b", "not/there"])
    assert published(place) == {"a/2": b""}
    store.delete(["a/2"])
    assert list(store.list()) == []


def test_a_file_is_created_only_once(place: Place, store: Store) -> None:
    store.write("x", b"first", create=True)
    with pytest.raises(ChangedError, match=r"x.* Run again"):
        store.write("x", b"second", create=True)
    assert published(place) == {"x": b"first"}


@pytest.mark.parametrize(("start", "stop"), [(0, None), (3, 7), (5, 5), (6, 99)])
def test_any_range_of_a_file_can_be_read(store: Store, start: int, stop: int | None) -> None:
    file = store.write("x", b"0123456789")
    with store.open(file, start, stop) as reader:
        assert reader.read() == b"0123456789"[start:stop]


@pytest.mark.parametrize("change", ["replace", "remove"])
def test_a_file_that_changed_is_not_read(place: Place, store: Store, path: Path, change: str) -> None:
    file = store.write("x", DATA[: 6 * MIB])
    if change == "replace":
        place.put("x", DATA[MIB : 7 * MIB])
    else:
        store.delete(["x"])
    with pytest.raises(ChangedError, match="x"), store.open(file) as reader:
        reader.read()
    with pytest.raises(ChangedError), store.stage("y", [path, Range(file, 2, 4)], "0" * 64):
        pass
    assert place.unfinished() == []


def test_large_files_are_not_read_into_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("x", b"12345")
    monkeypatch.setattr(bigearthnet.store.reader, "SMALL_BYTES", 5)
    assert store.read("x") == b"12345"
    monkeypatch.setattr(bigearthnet.store.reader, "SMALL_BYTES", 4)
    with pytest.raises(StoreError, match=r"it has 5 bytes, and at most 4 are read"):
        store.read("x")


@pytest.mark.parametrize("size", [0, 8 * MIB, len(DATA)])
def test_an_upload_is_the_file(place: Place, store: Store, path: Path, size: int) -> None:
    path.write_bytes(DATA[:size])
    place.put(".bigearthnet", b"")
    place.put("a.zip", b"what was there")
    file = store.upload(path, "a.zip")
    assert file == look(store, "a.zip")
    assert file.size == size
    assert published(place) == {"a.zip": DATA[:size]}
    assert path.read_bytes() == DATA[:size]
    assert place.unfinished() == []


def test_pieces_are_joined_and_seen_when_they_are_committed(
    place: Place, store: Store, tmp_path: Path
) -> None:
    shards = {"large": DATA[: 7 * MIB], "small": DATA[7 * MIB : 8 * MIB], "other": DATA[8 * MIB :]}
    files = {name: store.write(name, b"<" + data + b">") for name, data in shards.items()}
    (tmp_path / "local").write_bytes(b"local")
    pieces = [Range(file, 1, file.size - 1) for file in files.values()]
    store.write("a.zip", b"what was there")
    joined = DATA + b"local"
    sha256 = hashlib.sha256(joined).hexdigest()
    with store.stage("a.zip", [*pieces, tmp_path / "local"], sha256) as staged:
        assert staged.size == len(joined)
        assert place.open().read("a.zip") == b"what was there"
        file = staged.commit()
    assert file == look(store, "a.zip")
    assert published(place)["a.zip"] == joined
    assert store.digest(file) == sha256
    assert place.unfinished() == []
    with store.stage("empty", [], "0" * 64) as staged:
        assert staged.commit().size == 0
    assert store.read("empty") == b""


def test_what_is_not_committed_leaves_nothing(place: Place, store: Store, path: Path) -> None:
    store.write("a.zip", b"what was there")
    with suppress(KeyboardInterrupt), store.stage("a.zip", [path], SHA256):
        assert place.unfinished() != []
        raise KeyboardInterrupt
    assert published(place) == {"a.zip": b"what was there"}
    assert place.unfinished() == []


def test_a_file_that_arrives_over_several_runs_is_whole(place: Place) -> None:
    size, first = len(DATA), 5 * MIB + 3
    begin(place.open(), "a/x.tar", size, "m", DATA[:first])
    assert published(place) == {}
    with place.open().lock("another run"):
        pass
    partial = place.open().resume("a/x.tar", size, "m")
    assert partial.position in (first, 5 * MIB)
    held = partial.held()
    assert held is None or b"".join(map(bytes, held)) == DATA[:first]
    partial.append([memoryview(DATA[partial.position : 6 * MIB])])
    with pytest.raises(ValueError, match="bytes of"):
        partial.commit()
    partial = place.open().resume("a/x.tar", size, "m")
    partial.append([memoryview(DATA)[partial.position :]])
    assert partial.commit() == look(place.open(), "a/x.tar")
    assert published(place) == {"a/x.tar": DATA}
    assert place.unfinished() == []
    assert not [name for name in place.files() if name.startswith(".resume")]


@pytest.mark.parametrize(("size", "version"), [(7 * MIB, "m"), (8 * MIB, "other")])
def test_the_beginning_of_another_file_is_dropped(place: Place, size: int, version: str) -> None:
    begin(place.open(), "x", 8 * MIB, "m", DATA[: 6 * MIB])
    begin(place.open(), "x", size, version, DATA[:size]).commit()
    assert published(place) == {"x": DATA[:size]}
    assert place.unfinished() == []


def test_a_beginning_is_discarded(place: Place, store: Store) -> None:
    partial = begin(store, "x", 6 * MIB, "m", DATA[: 6 * MIB])
    partial.discard()
    assert partial.position == 0
    partial.append([memoryview(DATA)[MIB : 7 * MIB]])
    partial.commit()
    assert published(place) == {"x": DATA[MIB : 7 * MIB]}
    begin(store, "x", 6 * MIB, "m", DATA[: 6 * MIB]).discard()
    begin(store, "x", 6 * MIB, "m", b"").discard()
    store.resume("empty", 0, "m").commit()
    assert published(place)["empty"] == b""
    assert place.unfinished() == []


def test_a_second_run_is_refused_and_told_of_the_first(place: Place, store: Store) -> None:
    with store.lock("busy-bee") as lock:
        lock.check()
        with pytest.raises(BusyError, match=r"run busy-bee \(process \d+ on .*\)"), place.open().lock("b"):
            pass
        lock.check()
    with pytest.raises(ZeroDivisionError), place.open().lock("second"):
        raise ZeroDivisionError
    with place.open().lock("\x1b[2J" * 99) as lock:
        lock.check()
        with pytest.raises(BusyError, match=r"\\x1b\[2J") as caught, place.open().lock("b"):
            pass
        assert str(caught.value).isprintable()


def test_a_lock_that_was_removed_is_lost(place: Place, store: Store) -> None:
    with store.lock("first") as lock:
        place.remove(".lock")
        with place.open().lock("second"), pytest.raises(BusyError, match="run again"):
            lock.check()


def test_files_of_others_are_not_touched(place: Place, store: Store, path: Path) -> None:
    place.put("holiday.jpg", b"of somebody")
    for call in (
        store.lock("run").__enter__,
        lambda: store.write("holiday.jpg", b""),
        lambda: store.upload(path, "holiday.jpg"),
        store.stage("holiday.jpg", [path], SHA256).__enter__,
        lambda: store.resume("holiday.jpg", 1, "m"),
        lambda: store.delete(["holiday.jpg"]),
    ):
        with pytest.raises(StoreError, match=r"did not put there \(holiday.jpg\).*empty"):
            call()
    assert place.files() == NOT_OURS
    assert [file.name for file in store.list()] == ["holiday.jpg"]  # but it can be read


def test_a_place_with_a_lock_alone_counts_as_empty_and_is_ours_from_then_on(
    place: Place, store: Store
) -> None:
    place.put(".lock", b"")
    store.write("x", b"ours")
    place.put("holiday.jpg", b"of somebody")
    place.open().write("x", b"again")
    assert published(place) == NOT_OURS | {"x": b"again"}


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "../x", "a/../x", "a//b", "./x", "a\0b", ".lock", ".bigearthnet", ".staging/x"]
)
def test_names_lead_out_of_no_store(store: Store, name: str) -> None:
    for call in (store.head, lambda name: store.write(name, b""), lambda name: store.delete([name])):
        with pytest.raises(StoreError, match="cannot use"):
            call(name)


KILLED = """
    import sys
    from pathlib import Path
    import bigearthnet.store.s3.upload
    from tests.integration.test_store_contract import DATA, MIB, begin
    from tests.support.places import BucketPlace
    from tests.support.s3_server import make_client

    bigearthnet.store.s3.upload.PART_BYTES = 5 * MIB
    *server, bucket, path = sys.argv[1:]
    store = BucketPlace(make_client(*server), bucket).open()
    with store.lock("killed"), store.stage("a.zip", [Path(path)], ""):
        begin(store, "b.zip", len(DATA), "m", DATA[: 6 * MIB])
        print("in the middle", flush=True)
        sys.stdin.read()
"""


def test_what_a_killed_run_left_is_gone_on_with_or_removed(s3_server: S3Server, path: Path) -> None:
    place = new_bucket(s3_server.client())
    place.open().write("a.zip", b"what was there")
    where = [s3_server.url, s3_server.access_key, s3_server.secret_key, place.bucket, path]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), *where],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in the middle\n"
        child.kill()
    assert sorted(place.unfinished()) == ["a.zip", "b.zip"]
    assert published(place) == {"a.zip": b"what was there"}
    with place.open().lock("next"):  # at once: the killed process was on this machine
        assert place.unfinished() == ["b.zip"]
        assert place.open().resume("b.zip", len(DATA), "m").position == 5 * MIB
