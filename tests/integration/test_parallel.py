"""Large files over several connections, from real servers that do everything wrong a server can do."""

import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from bigearthnet.errors import ChangedError, ChecksumError, SourceError, TransferError
from bigearthnet.source import parallel
from bigearthnet.source.download import FetchedFile, Mirror, fetch_file
from bigearthnet.source.http import Http
from bigearthnet.source.parallel import Connections, Pace, ParallelReader, open_file
from bigearthnet.source.record import RecordFile
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.stream import Stream
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
from tests.support.places import BucketPlace
from tests.support.record_server import Fault, RecordServer
from tests.support.transfers import CONTENT, IMAGES, MAPS, MD5, SIZE, md5

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

BLOCK = 300_000
"""Five of them are the file; a connection may be two blocks ahead."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(ZenodoSource, "seconds_a_request", 0)


def connections(tmp_path: Path, most: int = 2) -> Connections:
    return Connections(most, tmp_path / "waiting")


def ranges(server: RecordServer) -> list[str]:
    """The ranges of the archive that were asked for, in the order of their requests."""
    return [str(request.headers["Range"]).removeprefix("bytes=") for request in server.requests_for(IMAGES)]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("connection ")]


@pytest.mark.parametrize("start", [0, 1, BLOCK - 1, BLOCK, SIZE - 2 * BLOCK])
@pytest.mark.parametrize("most", [2, 3, 4])
def test_each_byte_is_fetched_once_and_read_in_its_order(
    server: RecordServer, source: ZenodoSource, *, file: RecordFile, tmp_path: Path, start: int, most: int
) -> None:
    with open_file(source, file, start, connections(tmp_path, most)) as reader:
        assert threads() == [], "nothing is asked for before it is read"
        assert reader.read() == CONTENT[start:]
        assert (reader.position, reader.read(1)) == (SIZE, b"")
    begins = sorted({start, *range(-(-start // BLOCK) * BLOCK, SIZE, BLOCK)})
    expected = {f"{a}-{b - 1}" for a, b in zip(begins, [*begins[1:], SIZE], strict=True)}
    assert set(ranges(server)) == expected
    assert server.bytes_sent(IMAGES) == SIZE - start
    assert (threads(), list((tmp_path / "waiting").iterdir())) == ([], [])


@pytest.mark.parametrize(("start", "most"), [(0, 1), (SIZE - 2 * BLOCK + 1, 2)])
def test_one_connection_asks_for_all_of_it(
    server: RecordServer, source: ZenodoSource, *, file: RecordFile, tmp_path: Path, start: int, most: int
) -> None:
    with open_file(source, file, start, connections(tmp_path, most)) as reader:
        assert reader.read() == CONTENT[start:]
    assert len(server.requests) == 1
    assert connections(tmp_path, most).room(SIZE - start) == 0


def test_a_stalled_connection_is_resumed_and_stops_the_other_at_the_end_of_the_window(
    server: RecordServer, source: ZenodoSource, file: RecordFile, tmp_path: Path
) -> None:
    server.faults_at[IMAGES, 0] = [Fault(stall_after=100_000)]
    with open_file(source, file, 0, connections(tmp_path)) as reader:
        assert reader.read() == CONTENT
    assert ranges(server)[:5] == [
        "0-299999",
        "300000-599999",
        "600000-899999",
        "900000-1199999",
        "100000-299999",
    ]
    assert connections(tmp_path).room(SIZE) == 4 * BLOCK


@pytest.mark.parametrize(("status", "most", "left"), [(429, 2, 1), (403, 2, 1), (429, 4, 3), (403, 4, 3)])
def test_a_limit_of_the_server_is_heeded_at_once_and_told_once(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    tmp_path: Path,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    status: int,
    most: int,
    left: int,
) -> None:
    limit = Fault(status=status, retry_after="70", says=b"Unusual traffic")
    server.faults_at[IMAGES, BLOCK] = [limit]
    with open_file(source, file, 0, connections(tmp_path, most)) as reader:
        assert reader.read(BLOCK) + reader.read() == CONTENT
        while len(threads()) > left:  # until the timeout of the test: the end of a thread gives no event
            time.sleep(0.01)
    number = "1 connection" if left == 1 else f"{left} connections"
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        f'the server answered {status} ("Unusual traffic"); going on over {number}'
    ]
    assert waits == []
    assert server.bytes_sent(IMAGES) == SIZE + len(b"Unusual traffic")


def test_the_last_connection_waits_as_long_as_the_server_says(
    *, server: RecordServer, source: ZenodoSource, file: RecordFile, tmp_path: Path, waits: list[float]
) -> None:
    limit = Fault(status=429, retry_after="70")
    server.faults_at[IMAGES, BLOCK] = [limit, limit, limit]
    with open_file(source, file, 0, connections(tmp_path)) as reader:
        assert reader.read() == CONTENT
    assert waits == [70, 70]


def test_a_server_without_ranges_is_read_over_one_connection(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.faults[IMAGES] = [Fault(ignore_range=True)] * 9
    with open_file(source, file, 0, connections(tmp_path, 4)) as reader:
        assert reader.read() == CONTENT
    assert 3 <= len(server.requests) <= 6, "the first block, refused ones, and the rest"
    (line,) = caplog.messages
    assert line.endswith("the server sent the whole file instead of a range; going on over 1 connection")


def test_what_passes_is_tried_again_by_its_connection(
    *, server: RecordServer, source: ZenodoSource, file: RecordFile, tmp_path: Path
) -> None:
    server.faults[IMAGES] = [
        Fault(break_after=1000),
        Fault(status=503),
        Fault(drop=True),
        Fault(break_after=BLOCK - 1),
        Fault(headers={"Content-Range": f"bytes 0-9/{SIZE}"}),
        Fault(stall_after=0),
    ]
    with open_file(source, file, 0, connections(tmp_path)) as reader:
        assert reader.read() == CONTENT


def test_a_connection_that_fails_in_all_its_tries_leaves_its_block_to_the_other(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    server.faults_at[IMAGES, 0] = [Fault(stall_after=100_000)]
    server.faults_at[IMAGES, BLOCK] = [Fault(drop=True)] * 10
    with open_file(source, file, 0, connections(tmp_path)) as reader:
        assert reader.read() == CONTENT
    assert [line for line in caplog.messages if line.endswith("going on over 1 connection")]
    server.faults_at[IMAGES, BLOCK] = [Fault(drop=True)] * 20
    with (
        open_file(source, file, 0, connections(tmp_path)) as reader,
        pytest.raises(TransferError, match="Try again later"),
    ):
        reader.read()


@pytest.mark.parametrize(
    ("block", "fault", "error"),
    [
        (0, Fault(status=403), SourceError),
        (2, Fault(status=404), SourceError),
        (1, Fault(headers={"Content-Range": f"bytes 300000-599999/{SIZE + 1}"}), ChangedError),
        (3, Fault(flip=3 * BLOCK), ChecksumError),
    ],
)
def test_an_error_of_any_connection_ends_all(
    *,
    server: RecordServer,
    source: ZenodoSource,
    file: RecordFile,
    store: FolderStore,
    tmp_path: Path,
    block: int,
    fault: Fault,
    error: type[Exception],
) -> None:
    server.faults_at[IMAGES, block * BLOCK] = [fault]
    with pytest.raises(error):
        fetch_file(source, file, store, lambda _: None, connections(tmp_path))
    assert threads() == []
    left = {path.name for path in Path(store.url).rglob("*") if path.is_file()}
    if error is not SourceError:
        assert left == {".bigearthnet"}, "nothing of a file that is wrong, or another one now, is kept"
    fetch_file(source, file, store, lambda _: None, connections(tmp_path))
    assert store.read(IMAGES) == CONTENT
    assert {path.name for path in Path(store.url).rglob("*")} <= {".bigearthnet", ".staging", IMAGES}


def test_a_closed_reader_leaves_no_connection(server: RecordServer, file: RecordFile, tmp_path: Path) -> None:
    server.faults[IMAGES] = [Fault(stall_after=100_000)] * 2
    patient = ZenodoSource(server.record_url, Http(stall_seconds=300))
    reader = open_file(patient, file, 0, connections(tmp_path))
    interrupt = partial(os.kill, os.getpid(), signal.SIGINT)
    cancel = threading.Thread(target=lambda: server.stalled.wait() and interrupt())
    cancel.start()
    with pytest.raises(KeyboardInterrupt), reader:
        reader.read()
    cancel.join()
    assert threads() == []
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


def test_a_download_goes_on_with_the_blocks_that_arrived(
    *, server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore, tmp_path: Path
) -> None:
    server.faults[IMAGES] = [Fault(break_after=100_001), Fault(status=404)]
    with pytest.raises(SourceError, match="404"):  # over one connection, so that it ends within a block
        fetch_file(source, file, store, lambda _: None)
    server.faults_at[IMAGES, 100_001] = [Fault(stall_after=1000)]
    server.faults_at[IMAGES, 101_001] = [Fault(status=404)]
    with pytest.raises(SourceError, match="404"):
        fetch_file(source, file, store, lambda _: None, connections(tmp_path))
    sent, counts = server.bytes_sent(IMAGES), list[int]()
    fetched = fetch_file(source, file, store, counts.append, connections(tmp_path))
    assert (fetched.md5, sum(counts), store.read(IMAGES)) == (MD5, SIZE, CONTENT)
    assert server.bytes_sent(IMAGES) - sent == (BLOCK - 100_001 - 1000) + BLOCK, "three blocks were there"
    assert not list(Path(store.url).glob(".staging/*"))


KILLED = """
import sys
from pathlib import Path
from bigearthnet.source import parallel
from bigearthnet.source.download import fetch_file
from bigearthnet.source.http import Http
from bigearthnet.source.parallel import Connections
from bigearthnet.source.record import RecordFile
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
url, name, size, md5, folder, block, most = sys.argv[1:]
parallel.BLOCK_BYTES, ZenodoSource.seconds_a_request = int(block), 0
file = RecordFile(name, int(size), md5, url)
store = FolderStore(Path(folder))
fetch_file(ZenodoSource(url, Http()), file, store, lambda _: None, Connections(int(most), Path(folder)))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1])
"""


def fetch_in_process(
    url: str, size: int, *, digest: str, store: FolderStore, block: int, most: int
) -> list[str]:
    """The command of a process that fetches a file, and prints its peak memory in KiB."""
    return [sys.executable, "-c", KILLED, url, IMAGES, str(size), digest, store.url, str(block), str(most)]


def test_killed_in_the_middle_it_fetches_no_block_again_that_was_there(
    *, server: RecordServer, source: ZenodoSource, file: RecordFile, store: FolderStore, tmp_path: Path
) -> None:
    for number in (1, 4):
        server.faults_at[IMAGES, number * BLOCK] = [Fault(stall_after=1000)]
    command = fetch_in_process(file.location, SIZE, digest=MD5, store=store, block=BLOCK, most=2)
    with subprocess.Popen(command) as process:
        # The first block was read, the second stalls, the next two are there: so the fifth begins.
        while not (len(server.requests) == 5 and server.requests[4].sent):
            assert process.poll() is None
            server.stalled.wait()
        process.send_signal(signal.SIGKILL)
    sent = server.bytes_sent(IMAGES)
    fetched = fetch_file(source, file, store, lambda _: None, connections(tmp_path))
    assert fetched == FetchedFile(store.head(IMAGES), MD5, SIZE - BLOCK)  # type: ignore[arg-type]
    assert server.bytes_sent(IMAGES) - sent == 2 * BLOCK
    assert store.read(IMAGES) == CONTENT


def test_memory_does_not_depend_on_the_blocks(server: RecordServer, store: FolderStore) -> None:
    peaks = []
    for size in (4 << 20, 64 << 20):
        data = bytes(size)
        (server.folder / IMAGES).write_bytes(data)
        command = fetch_in_process(
            server.file_url(IMAGES), size, digest=md5(data), store=store, block=size // 8, most=4
        )
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert abs(peaks[1] - peaks[0]) < 4 << 10


def test_requests_keep_the_pace_that_zenodo_allows(
    server: RecordServer, source: ZenodoSource, file: RecordFile, tmp_path: Path
) -> None:
    waited: list[float] = []
    files = parallel.UnnamedBlocks(tmp_path)
    pace = Pace(1.2, clock=lambda: 1000.0, sleep=waited.append)
    with ParallelReader(source, file, 0, 4, files, pace) as reader:
        assert reader.read() == CONTENT
    assert sorted(waited) == pytest.approx([1.2, 2.4, 3.6, 4.8])


def test_the_whole_record_takes_fewer_requests_than_zenodo_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 63_254_331_392 / parallel.BLOCK_BYTES < 1_000, "of 2,000 an hour"
    assert 60 / ZenodoSource.seconds_a_request < 60, "of 60 a minute"
    assert Connections(4, Path()).room(63_254_331_392) == 512 << 20


def test_a_stream_is_read_over_several_connections(
    server: RecordServer, source: ZenodoSource, file: RecordFile, tmp_path: Path
) -> None:
    stream = Stream(source, file, [], lambda _: None, connections(tmp_path))
    stream.verify()
    stream.close()
    assert stream.mark().md5 == MD5
    assert len(ranges(server)) == 5


@pytest.fixture
def bucket_file(bucket: BucketPlace) -> tuple[StoredSource, RecordFile]:
    bucket.put(IMAGES, CONTENT)
    bucket.put(MAPS, b"maps")
    source = StoredSource(bucket.open())
    return source, source.record().require(IMAGES)


def test_a_bucket_is_read_over_several_connections_unless_it_changes(
    bucket: BucketPlace, bucket_file: tuple[StoredSource, RecordFile], tmp_path: Path
) -> None:
    source, file = bucket_file
    with open_file(source, file, 5, connections(tmp_path, 3)) as reader:
        assert isinstance(reader, ParallelReader)
        assert reader.read() == CONTENT[5:]
    bucket.put(IMAGES, CONTENT[::-1])
    with open_file(source, file, 0, connections(tmp_path)) as reader, pytest.raises(ChangedError):
        reader.read()


def test_a_bucket_is_filled_over_several_connections(
    *, server: RecordServer, source: ZenodoSource, bucket: BucketPlace, tmp_path: Path
) -> None:
    record, store = source.record(), bucket.open()
    with store.lock("a test"):
        target = Mirror(store, connections(tmp_path, 3))
        for file in record.files:
            target.put(source, file, lambda _: None)
        target.finish(record)
    assert bucket.files()[IMAGES] == CONTENT
    assert hashlib.md5(bucket.files()[MAPS]).hexdigest() == md5(b"maps")  # noqa: S324
    assert len(ranges(server)) == 5
    assert list((tmp_path / "waiting").iterdir()) == []
