"""From a record over HTTP: what is requested, how often, and what happens when the server misbehaves."""

import hashlib
import json
from pathlib import Path

import pytest

from bigearthnet.errors import ChecksumError, RejectedError, TransferError
from bigearthnet.source import parallel
from tests.support.archives import IMAGES, MAPS, linked, rewrite
from tests.support.published import ZIPS, Published, patch_ids, read_card, require_whole
from tests.support.record_server import Fault, RecordServer
from tests.support.runs import Home
from tests.support.sample import Sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]

OUTAGE = [Fault(drop=True)] * 40


def size(sample: Sample, name: str = IMAGES) -> int:
    return (sample.folder / name).stat().st_size


def verifications(home: Home) -> dict[str, str]:
    return {file["name"]: file["verification"] for file in read_card(home.destination)["source"]["files"]}


def asked(server: RecordServer, name: str = IMAGES) -> list[tuple[str | None, int]]:
    """Range and status of each request for a file."""
    return [(request.headers.get("Range"), request.status) for request in server.requests_for(name)]


def staged(home: Home) -> dict[str, tuple[int, str]]:
    """Mark of each unpublished shard of images: bytes of the stream read before it, and their md5."""
    files = home.files()
    notes = [
        json.loads(data)["mark"]
        for name, data in files.items()
        if name.startswith(".tiles/") and "-images-" in name and name.endswith("tile.json")
    ]
    return {note["md5"]: (note["position"], note["md5"]) for note in notes}


def without_last_maps(sample: Sample, folder: Path) -> RecordServer:
    """Serves the sample, but the reference maps of its last tile are empty."""
    record = linked(sample.folder, folder / "record")
    rewrite(record / MAPS, lambda name, old: b"" if f"/{sample.tiles[-1]}" in name else old)
    return RecordServer(record)


def test_everything_is_fetched_once_and_verified(
    server: RecordServer, home: Home, undisturbed: Published, sample: Sample
) -> None:
    home.prepare(server.record_url)
    assert Published.read(home.destination) == undisturbed
    assert all(asked(server, name) == [(None, 200)] for name in server.names())
    source = require_whole(home.destination)["source"]
    assert (source["kind"], source["record"], source["version"]) == ("zenodo", "10891137", "2.0.0")
    assert [file["name"] for file in source["files"]] == server.names()
    for file in source["files"]:
        content = (sample.folder / file["name"]).read_bytes()
        assert (file["size"], file["md5"]) == (len(content), hashlib.md5(content).hexdigest())  # noqa: S324
        assert file["verification"] == "md5 as in the record"


def test_wrong_bytes_are_removed_and_fetched_once_more(
    server: RecordServer, home: Home, undisturbed: Published
) -> None:
    server.checksums[IMAGES] = f"md5:{'0' * 32}"
    with pytest.raises(ChecksumError, match=rf"{IMAGES} has md5 .* should have 0{{32}}"):
        home.prepare(server.record_url)
    assert asked(server) == [(None, 200)] * 2
    assert not list(home.work.rglob(f"{IMAGES}*"))
    assert not home.is_published()
    server.checksums.clear()
    server.faults[IMAGES] = [Fault(flip=1000)]
    home.prepare(f"{server.record_url}?token=hidden")
    assert asked(server) == [(None, 200)] * 4
    assert Published.read(home.destination) == undisturbed, "also without the token"


def test_a_whole_stream_is_verified_and_never_on_the_disk(
    server: RecordServer, home: Home, undisturbed: Published
) -> None:
    server.faults[IMAGES] = [Fault(break_after=700_000), Fault(status=503), Fault(ignore_range=True)]
    home.prepare(server.record_url, transfer="stream")
    assert [status for _, status in asked(server)] == [200, 503, 200]
    assert not list(home.work.rglob(f"{IMAGES}*"))
    assert set(verifications(home).values()) == {"md5 as in the record"}
    assert Published.read(home.destination) == undisturbed


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_several_connections_give_the_same(
    *,
    server: RecordServer,
    home: Home,
    undisturbed: Published,
    sample: Sample,
    transfer: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 300_000)
    server.faults_at[IMAGES, 300_000] = [Fault(status=429)]
    home.prepare(server.record_url, transfer=transfer, connections=3)
    assert Published.read(home.destination) == undisturbed
    blocks = {f"bytes={start}-" for start in range(0, size(sample), 300_000)}
    assert {str(asked_for).partition("-")[0] + "-" for asked_for, _ in asked(server)} == blocks
    assert caplog.text.count("going on over 2 connections") == 1
    assert home.strays() == set()
    assert not list(home.work.rglob("*.part"))


def test_a_stream_ends_with_the_last_wanted_patch(server: RecordServer, home: Home, sample: Sample) -> None:
    server.faults[IMAGES] = [Fault(stall_after=size(sample) * 2 // 3)] * 20  # nothing behind it can be had
    home.prepare(server.record_url, transfer="stream", selection={"tiles": list(sample.tiles[:2])})
    assert len(asked(server)) == 1
    assert verifications(home) == {
        IMAGES: "not read to the end",
        **{name: "md5 as in the record" for name in server.names() if name != IMAGES},
    }
    ids = patch_ids(home.destination, "images")
    assert {patch_id[:-6] for patch_id in ids} == set(sample.tiles[:2])


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_images_of_a_stream_that_was_not_verified_are_not_reused_by_a_run_that_verifies(
    server: RecordServer, home: Home, undisturbed: Published, *, sample: Sample, tmp_path: Path, transfer: str
) -> None:
    other = linked(sample.folder, tmp_path / "other")
    rewrite(other / IMAGES, lambda _, old: old[:-2] + b"\1\1")
    with RecordServer(other) as wrong:  # states the md5 of the record, and sends something else
        wrong.checksums[IMAGES] = f"md5:{server.md5(IMAGES)}"
        home.prepare(wrong.record_url, transfer="stream", selection={"max_patches": 5})
        wrong.requests.clear()
        home.prepare(wrong.record_url, transfer="stream", selection={"max_patches": 4})
        assert wrong.requests_for(IMAGES) == [], "a run that does not verify either reuses them"
    home.prepare(server.record_url, transfer=transfer)
    assert Published.read(home.destination) == undisturbed


def test_an_archive_in_a_folder_whose_md5_is_stated_is_verified_while_it_is_read(
    home: Home, undisturbed: Published, sample: Sample, tmp_path: Path
) -> None:
    folder = linked(sample.folder, tmp_path / "record")
    stated, right = folder / f"{IMAGES}.md5", hashlib.md5((folder / IMAGES).read_bytes()).hexdigest()  # noqa: S324
    stated.write_text(f"{'0' * 32}  {IMAGES}\n")
    with pytest.raises(ChecksumError, match=rf"has md5 {right} after .* Replace it, or what states its md5"):
        home.prepare(folder)
    assert not home.files()
    stated.write_text(f"{right}  {IMAGES}\n")
    home.prepare(folder, selection={"max_patches": 5})
    assert verifications(home)[IMAGES] == "not read to the end"
    home.prepare(folder)
    assert verifications(home)[IMAGES] == "md5 as in the record"
    found = Published.read(home.destination).sha256
    assert [found[name] for name, _ in ZIPS.values()] == [
        undisturbed.sha256[name] for name, _ in ZIPS.values()
    ]


def test_a_stream_with_the_wrong_md5_publishes_nothing_and_leaves_no_tiles(
    server: RecordServer, home: Home, undisturbed: Published
) -> None:
    md5 = server.md5(IMAGES)
    server.checksums[IMAGES] = f"md5:{'0' * 32}"
    with pytest.raises(ChecksumError, match=rf"{IMAGES} has md5 {md5} .* should have 0{{32}}"):
        home.prepare(server.record_url, transfer="stream")
    assert home.files() == {}


def test_a_stream_that_failed_is_read_anew_and_its_tiles_are_kept(
    server: RecordServer, home: Home, undisturbed: Published, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults[IMAGES] = [Fault(break_after=size(sample) * 2 // 3), *OUTAGE]
    with pytest.raises(TransferError, match=IMAGES):
        home.prepare(server.record_url, transfer="stream")
    content = (sample.folder / IMAGES).read_bytes()
    kept = staged(home).values()
    assert 0 < len(kept) < len(sample.tiles)
    for position, md5 in kept:
        assert hashlib.md5(content[:position]).hexdigest() == md5  # noqa: S324
    server.faults.clear()
    server.requests.clear()
    caplog.set_level("INFO")
    home.prepare(server.record_url, transfer="stream")
    assert f"({len(kept)} finished before)" in caplog.text
    assert server.bytes_sent(IMAGES) == size(sample)
    assert Published.read(home.destination) == undisturbed


@pytest.mark.parametrize("damage", ["none", "one byte", "all bytes"])
def test_tiles_are_made_while_the_archive_is_downloaded_and_a_later_run_goes_on(
    server: RecordServer,
    home: Home,
    undisturbed: Published,
    *,
    sample: Sample,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    server.faults[IMAGES] = [Fault(break_after=size(sample) * 5 // 6), *OUTAGE]
    with pytest.raises(TransferError, match=IMAGES):
        home.prepare(server.record_url)
    kept = staged(home)
    assert 0 < len(kept) < len(sample.tiles), "made of what had arrived"
    (part,) = home.work.rglob("*.part")
    arrived = part.stat().st_size
    assert part.read_bytes() == (sample.folder / IMAGES).read_bytes()[:arrived]
    if damage != "none":  # as after a power cut
        with part.open("r+b") as file:
            file.seek(arrived - 1 if damage == "one byte" else 0)
            file.write(b"\0" if damage == "one byte" else bytes(arrived))
    server.faults.clear()
    server.requests.clear()
    caplog.set_level("INFO")
    home.prepare(server.record_url)
    rest, whole = (f"bytes={arrived}-", 206), (None, 200)
    assert asked(server) == {"none": [rest], "one byte": [rest, whole], "all bytes": [whole]}[damage]
    assert ("begins once more" in caplog.text) is (damage != "none")
    if damage == "none":
        assert f"({len(kept)} finished before)" in caplog.text
    assert Published.read(home.destination) == undisturbed
    assert set(verifications(home).values()) == {"md5 as in the record"}
    (archive,) = home.work.rglob(f"{IMAGES}*")
    assert archive.read_bytes() == (sample.folder / IMAGES).read_bytes()
    server.requests.clear()
    home.prepare(server.record_url, rendering={"bands": "infrared"})
    assert asked(server) == [], "a later rendering has the archive"


def test_the_whole_archive_is_kept_for_later_runs_also_when_only_some_patches_are_wanted(
    server: RecordServer, home: Home, undisturbed: Published
) -> None:
    home.prepare(server.record_url, selection={"max_patches": 5})
    assert verifications(home)[IMAGES] == "md5 as in the record"
    assert asked(server) == [(None, 200)]
    home.prepare(server.record_url, transfer="stream")
    assert asked(server) == [(None, 200)], "what is there is not streamed"
    assert Published.read(home.destination) == undisturbed


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_a_stream_that_was_verified_is_not_read_again_if_the_run_failed_behind_it(
    home: Home, sample: Sample, tmp_path: Path, transfer: str
) -> None:
    with without_last_maps(sample, tmp_path) as another:
        with pytest.raises(RejectedError):
            home.prepare(another.record_url, transfer=transfer)
        another.requests.clear()
        home.prepare(another.record_url, transfer="stream", max_rejected=sample.patches)
        assert another.requests_for(IMAGES) == []
    require_whole(home.destination)


def test_an_unverified_stream_is_read_to_its_end_before_its_tiles_are_published(
    server: RecordServer, home: Home, sample: Sample, tmp_path: Path
) -> None:
    with without_last_maps(sample, tmp_path) as another:
        with pytest.raises(RejectedError):
            home.prepare(another.record_url, transfer="stream")
        (home.destination / ".tiles" / "verified.json").unlink()  # as if it was killed just before
        another.checksums[IMAGES] = f"md5:{another.md5(IMAGES)}"
        another.faults[IMAGES] = [Fault(flip=size(sample) // 2)] * 2
        with pytest.raises(ChecksumError, match=IMAGES):
            home.prepare(another.record_url, transfer="stream", max_rejected=sample.patches)
    assert not home.is_published()
