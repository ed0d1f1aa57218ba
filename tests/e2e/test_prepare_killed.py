"""Runs that end by SIGKILL before each of their steps, and two runs at a time."""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigearthnet.errors import BusyError
from bigearthnet.work.workspace import Workspace
from tasks.connect import scratch_folders
from tests.support.archives import IMAGES
from tests.support.kept import kept_members
from tests.support.places import BucketPlace
from tests.support.published import CARD, Published, is_own, require_whole
from tests.support.record_server import Fault, RecordServer
from tests.support.runs import DEADLINE_SECONDS, Home
from tests.support.sample import Sample
from tests.support.zygote import KILLED, Kill, Zygote, steps_to_kill_at

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick"), pytest.mark.timeout(1800)]

EVERY = 15
"""A kill precedes every 15th step, and from the removal of the old card on the ends of series of steps."""
OLD = {"stretch": "minmax", "mask_classes": "clc_l1"}
BUCKET_STEP = r"(PUT|POST|DELETE) /bucket"


@pytest.fixture(scope="module")
def zygote(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote") / "steps") as zygote:
        yield zygote


@pytest.fixture(scope="module")
def old(zygote: Zygote, small: RecordServer, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A dataset of fewer patches, rendered in another way."""
    home = Home.folder(tmp_path_factory.mktemp("old"))
    wanted = {**home.options, "selection": {"max_patches": 2}, "rendering": OLD}
    assert zygote.run("prepare", None, home.place.root, source=small.record_url, **wanted) == 0
    return home


@pytest.fixture(scope="module")
def new(
    zygote: Zygote, small: RecordServer, old: Home, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Published, list[str]]:
    """What an undisturbed run publishes in its place, and the steps that it takes."""
    home = Home.folder(tmp_path_factory.mktemp("new"))
    shutil.copytree(old.destination, home.destination)
    assert zygote.run("prepare", None, home.place.root, source=small.record_url, **home.options) == 0
    return Published.read(home.destination), zygote.steps


def test_killed_before_a_step_the_dataset_is_the_old_or_the_new_one(
    zygote: Zygote, small: RecordServer, tmp_path: Path, *, old: Home, new: tuple[Published, list[str]]
) -> None:
    before, (after, steps) = Published.read(old.destination).sha256, new
    window = next(at for at, step in enumerate(steps, 1) if step.endswith(f"/{CARD}"))
    assert steps[window - 1].startswith("remove ")
    assert 50 < window < len(steps) - 5
    for at in steps_to_kill_at(steps, window, EVERY):
        home = Home.folder(tmp_path / f"{at}")
        shutil.copytree(old.destination, home.destination)
        parameters = {"source": small.record_url, **home.options}
        status = zygote.run("prepare", Kill(at), home.place.root, **parameters)
        assert status == KILLED or at > len(steps) - 5, at  # threads take turns
        if (home.destination / CARD).exists():
            found = Published.read(home.destination).sha256
            wanted = before if found[CARD] == before[CARD] else after.sha256
            assert wanted.items() <= found.items(), (at, steps[at - 1])
        assert zygote.run("prepare", None, home.place.root, **parameters) == 0, (at, steps[at - 1])
        assert Published.read(home.destination) == after, (at, steps[at - 1])
        assert not home.strays(), (at, steps[at - 1])
        shutil.rmtree(tmp_path / f"{at}")


def test_drafts_of_notes_that_a_killed_run_left_are_removed(tmp_path: Path) -> None:
    work = Workspace(tmp_path)
    work.md5s.mkdir()
    for name in (".note.draft.new", "note"):
        (work.md5s / name).touch()
    with scratch_folders(work):
        assert [path.name for path in work.md5s.iterdir()] == ["note"]


def test_killed_again_and_again(
    zygote: Zygote, small: RecordServer, home: Home, old: Home, new: tuple[Published, list[str]]
) -> None:
    shutil.copytree(old.destination, home.destination)
    parameters = {"source": small.record_url, **home.options, "transfer": "stream", "keep_bundles": True}
    statuses = [KILLED]
    while statuses[-1] == KILLED:
        statuses.append(zygote.run("prepare", Kill(8 * len(statuses)), home.place.root, **parameters))
    assert statuses[-1] == 0
    assert len(statuses) > 4
    assert len(kept_members(home.files())) == 3 * 5, "four bands and the map of each patch"
    shutil.rmtree(home.destination / ".bundles")
    assert Published.read(home.destination) == new[0]


def test_killed_in_a_download_the_next_run_fetches_the_rest(
    zygote: Zygote, server: RecordServer, home: Home, undisturbed: Published
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=700_000)]
    process = zygote.begin("prepare", None, home.place.root, source=server.record_url, **home.options)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any(path.stat().st_size >= 256 << 10 for path in home.work.rglob("*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    assert zygote.end() == KILLED
    home.prepare(server.record_url)
    second = server.requests_for(IMAGES)[1]
    begun = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 256 << 10 <= begun <= 700_000
    assert second.sent == (server.folder / IMAGES).stat().st_size - begun
    assert Published.read(home.destination) == undisturbed


def test_killed_before_a_request_to_a_bucket_the_dataset_is_the_old_or_the_new_one(
    zygote: Zygote, small: RecordServer, bucket_home: Home, tmp_path: Path
) -> None:
    wanted = {"source": small.record_url, "transfer": "stream"}
    bucket_home.prepare(small.record_url, selection={"max_patches": 2}, rendering=OLD)
    first, old = bucket_home.place, bucket_home.files()
    everything = first.files()

    def as_before(number: int) -> Home:
        """The old dataset again, below another prefix."""
        place = BucketPlace(first.client, first.bucket, f"{number}")
        for name in everything:
            copied = {"Bucket": first.bucket, "Key": f"{first.prefix}/{name}"}
            first.client.copy_object(Bucket=first.bucket, Key=f"{number}/{name}", CopySource=copied)
        return Home(tmp_path / f"{number}", place, bucket_home.block)

    undisturbed = as_before(0)
    assert zygote.run("prepare", None, tmp_path, **undisturbed.options, **wanted) == 0
    new = undisturbed.files()
    steps = [step for step in zygote.steps if re.match(BUCKET_STEP, step)]
    _, window, *_ = (at for at, step in enumerate(steps, 1) if step.endswith("?delete"))
    assert 20 < window < len(steps) - 5, "after the trial, the card is deleted first, then all others come"
    for at in steps_to_kill_at(steps, window, EVERY):
        home = as_before(at)
        killed = zygote.run("prepare", Kill(at, BUCKET_STEP), tmp_path, **home.options, **wanted)
        assert killed == KILLED or at > len(steps) - 3
        left = home.files()
        if CARD in left:
            assert (old if left[CARD] == old[CARD] else new).items() <= left.items(), steps[at - 1]
        another = home.beside(tmp_path / f"another-{at}")
        assert zygote.run("prepare", None, tmp_path, **another.options, **wanted) == 0, steps[at - 1]
        assert home.files() == new, steps[at - 1]
        assert home.place.unfinished() == []


def test_a_second_run_is_told_which_run_has_the_folder(
    zygote: Zygote, server: RecordServer, bucket_home: Home, tmp_path: Path
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=1000)]
    process = zygote.begin("prepare", None, tmp_path, source=server.record_url, **bucket_home.options)
    assert server.stalled.wait(DEADLINE_SECONDS)
    asked = len(server.requests)
    with pytest.raises(BusyError, match=rf"{bucket_home.work} is locked by run \S+ \(process {process} on"):
        bucket_home.prepare(server.record_url, destination=str(tmp_path / "elsewhere"))
    with pytest.raises(BusyError, match=rf"{bucket_home.url}.* run \S+ \(process {process} on"):
        bucket_home.beside(tmp_path / "other work").prepare(server.record_url)
    assert len(server.requests) == asked, "a run that must wait asks for nothing"
    os.kill(process, signal.SIGKILL)
    assert zygote.end() == KILLED
    server.faults.clear()
    bucket_home.prepare(server.record_url, selection={"max_patches": 1})
    require_whole(bucket_home.published(tmp_path / "copy"))


def test_a_cancelled_run_leaves_the_old_dataset_and_its_tiles_to_the_next(
    zygote: Zygote, server: RecordServer, bucket_home: Home, sample: Sample, tmp_path: Path
) -> None:
    bucket_home.prepare(server.record_url, selection={"max_patches": 1})
    before = bucket_home.files()
    server.faults[IMAGES] = [Fault(stall_after=(sample.folder / IMAGES).stat().st_size * 2 // 3)]
    wanted = {**bucket_home.beside(tmp_path / "another").options, "transfer": "stream"}
    process = zygote.begin("prepare", None, tmp_path, source=server.record_url, **wanted)
    assert server.stalled.wait(DEADLINE_SECONDS)
    os.kill(process, signal.SIGTERM)
    assert zygote.end() != 0
    after = bucket_home.files()
    assert before.items() <= after.items()
    assert all(name.startswith(".tiles/") for name in after.keys() - before.keys())
    assert not [name for name in bucket_home.place.unfinished() if not is_own(name)]
