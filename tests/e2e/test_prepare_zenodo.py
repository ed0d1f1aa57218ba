"""From a record over HTTP: what is fetched, how often, and what happens when the other side misbehaves."""

import hashlib
import json
import re
import socket
from pathlib import Path

import pytest

from bigearthnet.errors import ChecksumError, SourceError, TransferError
from bigearthnet.sample.archives import Sample
from tests.support.archives import IMAGES, MAPS, linked
from tests.support.published import Published, patch_ids, read_card, require_whole
from tests.support.record_server import RECORD, Fault, RecordServer
from tests.support.runs import Place, observed, start

pytestmark = pytest.mark.e2e

_MARK = re.compile(r"position\W+(\d+)\W+md5\W+([0-9a-f]{32})")


def size(sample: Sample, name: str = IMAGES) -> int:
    return (sample.folder / name).stat().st_size


def verifications(place: Place) -> dict[str, str]:
    return {file["name"]: file["verification"] for file in read_card(place.destination)["source"]["files"]}


def asked(server: RecordServer, name: str = IMAGES) -> list[tuple[str | None, int]]:
    """Range and status of each request for a file."""
    return [(request.headers.get("Range"), request.status) for request in server.requests_for(name)]


# resolve


@pytest.mark.parametrize(
    ("path", "found"),
    [("/api/records/7", "the server answered 404"), ("/records/7", "the server answered 404")],
)
def test_an_unknown_record_fails_at_once(server: RecordServer, place: Place, path: str, found: str) -> None:
    with pytest.raises(SourceError, match=re.escape(f"expected {server.url}{path}, {found}")):
        start(server.url + path, place)
    assert len(server.requests) == 1


def test_a_record_without_an_archive_fails_at_once(sample: Sample, place: Place, tmp_path: Path) -> None:
    folder = linked(sample.folder, tmp_path / "record")
    (folder / MAPS).unlink()
    with RecordServer(folder) as server:
        with pytest.raises(SourceError, match=rf"to hold {MAPS} once, found {IMAGES}, metadata"):
            start(server.record_url, place)
        assert len(server.requests) == 1


def test_a_checksum_of_unknown_kind_fails_at_once(server: RecordServer, place: Place) -> None:
    server.checksums[MAPS] = "sha256:00"
    with pytest.raises(SourceError, match=rf"checksum of {MAPS} .* as md5:.*, found 'sha256:00'"):
        start(server.record_url, place)
    assert len(server.requests) == 1


def test_an_unreachable_host_is_named(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TransferError, match=rf"expected http://127\.0\.0\.1:{port}/.*refused"):
        start(f"http://127.0.0.1:{port}/api/records/1", place)


def test_an_outage_longer_than_the_patience_of_a_connection_is_waited_for(
    server: RecordServer, place: Place
) -> None:
    server.faults[RECORD] = [Fault(status=503), Fault(drop=True), Fault(status=429, retry_after="0")]
    start(server.record_url, place, selection={"max_patches": 1})
    assert [request.status for request in server.requests_for(RECORD)] == [503, 0, 429, 200]


# keep


def test_everything_is_fetched_once_and_verified(
    server: RecordServer, place: Place, undisturbed: Published, sample: Sample
) -> None:
    runs = observed(server.record_url, place)
    assert Published.read(place.destination) == undisturbed
    assert {name: asked(server, name) for name in server.names()} == {
        name: [(None, 200)] for name in server.names()
    }
    assert runs.named("extract") == runs.named("convert") == sorted(sample.tiles)
    assert set(verifications(place).values()) == {"md5 as in the record"}
    source = require_whole(place.destination)["source"]
    assert (source["kind"], source["record"], source["version"]) == ("zenodo", "10891137", "2.0.0")
    for file in source["files"]:
        content = (sample.folder / file["name"]).read_bytes()
        assert (file["size"], file["md5"]) == (len(content), hashlib.md5(content).hexdigest())  # noqa: S324


def test_a_download_goes_on_where_connections_broke(
    server: RecordServer, place: Place, undisturbed: Published, sample: Sample
) -> None:
    server.faults[IMAGES] = [
        Fault(break_after=300_000),
        Fault(status=503),
        Fault(stall_after=200_000),
        Fault(status=500),
        Fault(drop=True),  # the patience of a connection ends, the task's retry goes on
        Fault(break_after=100_000),
    ]
    start(server.record_url, place)
    ranges = [request.headers.get("Range") for request in server.requests_for(IMAGES)]
    assert ranges == [
        None,
        *["bytes=300000-"] * 2,
        *["bytes=500000-"] * 3,
        "bytes=600000-",
    ]
    assert sum(r.sent for r in server.requests_for(IMAGES) if r.status < 300) == size(sample)
    assert Published.read(place.destination) == undisturbed


def test_a_later_run_goes_on_where_an_earlier_one_failed(
    server: RecordServer, place: Place, undisturbed: Published, sample: Sample
) -> None:
    server.faults[IMAGES] = [Fault(break_after=400_000), *[Fault(status=504)] * 8]
    with pytest.raises(TransferError, match=rf"expected byte 400000 of {IMAGES} .* answered 504"):
        start(server.record_url, place)
    assert not place.destination.joinpath("dataset.json").exists()
    assert [Path(name).name for name in place.files(f"archives/*/{IMAGES}*")] == [
        f"{IMAGES}.part",
        f"{IMAGES}.part.json",
    ]
    server.faults.clear()
    server.requests.clear()
    start(server.record_url, place)
    assert asked(server) == [("bytes=400000-", 206)]
    assert server.requests_for(MAPS) == []
    assert Published.read(place.destination) == undisturbed


def test_a_whole_answer_to_a_range_is_not_appended(
    server: RecordServer, place: Place, undisturbed: Published, sample: Sample
) -> None:
    server.faults[IMAGES] = [Fault(break_after=400_000), Fault(ignore_range=True)]
    start(server.record_url, place)
    assert asked(server) == [(None, 200), ("bytes=400000-", 200)]
    assert Published.read(place.destination) == undisturbed


def test_wrong_bytes_are_removed_and_fetched_once_more(
    server: RecordServer, place: Place, undisturbed: Published
) -> None:
    server.faults[IMAGES] = [Fault(flip=1000)]
    start(server.record_url, place)
    assert asked(server) == [(None, 200)] * 2
    assert Published.read(place.destination) == undisturbed


def test_bytes_that_are_wrong_twice_fail(server: RecordServer, place: Place) -> None:
    server.checksums[IMAGES] = f"md5:{'0' * 32}"
    with pytest.raises(ChecksumError, match=rf"expected {IMAGES} with md5 0{{32}} .* has been removed"):
        start(server.record_url, place)
    assert asked(server) == [(None, 200)] * 2
    assert place.files(f"archives/*/{IMAGES}*") == []
    assert not place.destination.joinpath("dataset.json").exists()


# stream


def test_a_whole_stream_is_verified_and_never_on_the_disk(
    server: RecordServer, place: Place, undisturbed: Published
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(status=503), Fault(ignore_range=True)]
    start(server.record_url, place, transfer="stream")
    assert [status for _, status in asked(server)] == [200, 503, 200]
    assert place.files(f"**/{IMAGES}*") == []
    assert set(verifications(place).values()) == {"md5 as in the record"}
    assert Published.read(place.destination) == undisturbed


def test_a_stream_ends_with_the_last_wanted_tile(server: RecordServer, place: Place, sample: Sample) -> None:
    server.faults[IMAGES] = [Fault(stall_after=size(sample) * 2 // 3)] * 20  # nothing behind it can be had
    start(server.record_url, place, transfer="stream", selection={"tiles": list(sample.tiles[:2])})
    assert len(asked(server)) == 1
    assert verifications(place) == {
        IMAGES: "not read to the end",
        **{name: "md5 as in the record" for name in server.names() if name != IMAGES},
    }
    ids = patch_ids(place.destination, "images")
    assert {patch_id[:-6] for patch_id in ids} == set(sample.tiles[:2])


def test_tiles_of_an_unverified_stream_are_not_taken_for_verified_ones(
    server: RecordServer, place: Place, undisturbed: Published, sample: Sample
) -> None:
    start(server.record_url, place, transfer="stream", selection={"tiles": [sample.tiles[0]]})
    runs = observed(server.record_url, place, transfer="stream")
    assert runs.named("extract") == sorted(sample.tiles)
    assert Published.read(place.destination) == undisturbed


def test_a_stream_with_the_wrong_md5_publishes_nothing(
    server: RecordServer, place: Place, sample: Sample
) -> None:
    start(server.record_url, place, selection={"max_patches": 1})
    before = Published.read(place.destination)
    server.checksums[IMAGES] = f"md5:{'0' * 32}"
    with pytest.raises(ChecksumError, match=rf"{IMAGES}: expected md5 0{{32}} over the first"):
        start(server.record_url, place, transfer="stream")
    assert Published.read(place.destination) == before
    require_whole(place.destination)


def marks(place: Place) -> dict[Path, tuple[int, str]]:
    """Of each tile's result: how many bytes of the stream had been read, and their md5."""
    found = {path: _MARK.search(path.read_text()) for path in (place.work / "results").glob("S2*")}
    return {path: (int(match[1]), match[2]) for path, match in found.items() if match}


def test_a_stream_that_failed_is_read_anew_and_its_tiles_are_kept(
    server: RecordServer, place: Place, undisturbed: Published, sample: Sample
) -> None:
    server.faults[IMAGES] = [Fault(break_after=size(sample) * 2 // 3), *[Fault(drop=True)] * 8]
    with pytest.raises(TransferError, match=IMAGES):
        start(server.record_url, place, transfer="stream")
    content = (sample.folder / IMAGES).read_bytes()
    kept = marks(place)
    assert 0 < len(kept) < len(sample.tiles)
    for position, md5 in kept.values():
        assert hashlib.md5(content[:position]).hexdigest() == md5  # noqa: S324
    server.faults.clear()
    server.requests.clear()
    runs = observed(server.record_url, place, transfer="stream")
    assert len(runs.named("convert", "Cached")) == len(kept)
    assert server.bytes_sent(IMAGES) == size(sample)
    assert Published.read(place.destination) == undisturbed


def test_tiles_of_another_stream_are_dropped(
    server: RecordServer, place: Place, undisturbed: Published, sample: Sample
) -> None:
    start(server.record_url, place, transfer="stream")
    (place.destination / "dataset.json").unlink()
    next(place.work.glob(f"tiles/{sample.tiles[0]}-*/images.zip")).unlink()
    for path, (_, md5) in marks(place).items():  # as if other bytes had come
        path.write_text(path.read_text().replace(md5, "0" * 32))
    with pytest.raises(ChecksumError, match=r"expected md5 0{32} over the first .* dropped, run again"):
        start(server.record_url, place, transfer="stream")
    assert not place.destination.joinpath("dataset.json").exists()
    assert place.files("tiles/*") == []
    runs = observed(server.record_url, place, transfer="stream")
    assert runs.named("extract") == sorted(sample.tiles)
    assert Published.read(place.destination) == undisturbed


def test_what_a_run_asks_for_is_told_to_nobody_else(server: RecordServer, place: Place) -> None:
    start(f"{server.record_url}?token=hidden", place, selection={"max_patches": 1})
    assert "hidden" not in json.dumps(read_card(place.destination))
