"""What a published dataset or an interrupted run has is reused: no byte is asked for or made twice."""

import os
from pathlib import Path
from typing import Any

import pytest

from bigearthnet.errors import RejectedError
from tests.support.archives import IMAGES, linked, members, rewrite
from tests.support.published import (
    CARD,
    IMAGES_ZIP,
    MASKS_ZIP,
    PREVIEW,
    Published,
    require_whole,
)
from tests.support.record_server import RECORD, RecordServer
from tests.support.runs import Home
from tests.support.sample import Sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]

STREAM = {"transfer": "stream"}


def fresh(server: RecordServer, tmp_path: Path, **parameters: Any) -> Published:
    """What a run makes that finds nothing."""
    home = Home.folder(tmp_path / "fresh")
    home.prepare(server.record_url, **parameters)
    return Published.read(home.destination)


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of each file; those of locks change with every run."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_a_second_run_writes_nothing_from_any_machine_but_what_is_gone_or_written_over(
    small: RecordServer, any_home: Home, tmp_path: Path
) -> None:
    any_home.prepare(small.record_url, **STREAM)
    undisturbed = fresh(small, tmp_path)
    assert any_home.sha256() == undisturbed
    before = any_home.versions() | identities(any_home.work)
    small.requests.clear()
    any_home.prepare(small.record_url, **STREAM)
    assert {request.name for request in small.requests} == {RECORD}
    assert any_home.versions() | identities(any_home.work) == before
    any_home.beside(tmp_path / "another").prepare(small.record_url, **STREAM)
    assert small.requests_for(IMAGES) == []
    assert any_home.versions().items() <= before.items()
    for name, is_gone, requested in (
        (IMAGES_ZIP, True, {IMAGES}),
        (MASKS_ZIP, False, set[str]()),
        (PREVIEW, True, set[str]()),
    ):
        size = len(any_home.files()[name])
        any_home.place.open().delete([name])
        if not is_gone:  # but by somebody who does not know what it is
            any_home.place.put(name, bytes(size))
        small.requests.clear()
        any_home.prepare(small.record_url, **STREAM)
        assert {request.name for request in small.requests} == {RECORD, *requested}
        assert any_home.sha256() == undisturbed


def without_bands(sample: Sample, folder: Path) -> tuple[Path, str]:
    """The sample without a band of a patch in its second tile."""
    record = linked(sample.folder, folder)
    victim = next(name for name, _ in members(record / IMAGES) if f"/{sample.tiles[1]}/" in name)
    patch_id = victim.split("/")[2]
    rewrite(record / IMAGES, lambda name, old: None if name.endswith(f"{patch_id}_B03.tif") else old)
    return record, patch_id


def test_a_failed_run_leaves_its_tiles_to_the_next(sample: Sample, bucket_home: Home, tmp_path: Path) -> None:
    folder, victim = without_bands(sample, tmp_path / "record")
    with RecordServer(folder) as server:
        with pytest.raises(RejectedError, match=rf"1 of {sample.patches} .*{victim}.*Set max_rejected to 1"):
            bucket_home.prepare(server.record_url)
        assert not bucket_home.is_published()
        assert sum(name.endswith("/tile.json") for name in bucket_home.files()) == 2 * len(sample.tiles)
        for path in bucket_home.work.glob(f"archives/*/{IMAGES}"):
            path.unlink()
        server.requests.clear()
        done = bucket_home.prepare(server.record_url, max_rejected=1)
        assert (done["patches"], done["rejected"]) == (sample.patches - 1, 1)
        assert server.requests_for(IMAGES) == []
        assert bucket_home.sha256() == fresh(server, tmp_path, max_rejected=1)
    card = require_whole(bucket_home.published(tmp_path / "copy"))
    assert [one["patch_id"] for one in card["rejected"]] == [victim]


def test_notes_that_a_power_cut_left_are_made_again(
    server: RecordServer, home: Home, undisturbed: Published
) -> None:
    home.prepare(server.record_url)
    (home.destination / CARD).unlink()
    for path in [*home.work.rglob("*.json"), *home.destination.rglob("*.json")]:
        os.truncate(path, 40)
    home.prepare(server.record_url)
    assert Published.read(home.destination) == undisturbed
