"""Runs that end by SIGKILL at many moments: what they leave, and what the next run makes of it."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bigearthnet.sample.archives import Sample
from tests.support.archives import IMAGES
from tests.support.published import CARD, Published, require_whole
from tests.support.record_server import Fault, RecordServer
from tests.support.runs import DEADLINE_SECONDS, Place, observed, start
from tests.support.zygote import Kill, Zygote

pytestmark = pytest.mark.e2e

KILLED = -signal.SIGKILL
OLD = {"stretch": "minmax", "mask_classes": "clc_l1"}


@pytest.fixture(scope="module")
def zygote(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote") / "log") as zygote:
        yield zygote


@pytest.fixture(scope="module")
def old(prefect_server: None, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that was published before, of fewer tiles and rendered in another way."""
    place = Place.below(tmp_path_factory.mktemp("old"))
    start(sample.folder, place, rendering=OLD, selection={"tiles": list(sample.tiles[1:3])})
    return place.destination


@pytest.fixture(scope="module")
def changes(zygote: Zygote, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many changes to its folders an undisturbed run makes."""
    with RecordServer(sample.folder) as server:
        zygote.begin(server.record_url, Place.below(tmp_path_factory.mktemp("counted")))
        assert zygote.end() == 0
    return zygote.changes


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def require_whole_or_none(destination: Path) -> None:
    """Whoever goes by the card sees the old dataset, the new one, or none; never a mixture."""
    if (destination / CARD).exists():
        require_whole(destination)


def killed(zygote: Zygote, server: RecordServer, place: Place, kill: Kill) -> None:
    zygote.begin(server.record_url, place, kill)
    assert zygote.end() == KILLED
    require_whole_or_none(place.destination)


@pytest.mark.parametrize("percent", range(4, 100, 13))
def test_killed_anywhere_the_next_run_ends_as_an_undisturbed_one(
    zygote: Zygote, server: RecordServer, place: Place, *, undisturbed: Published, changes: int, percent: int
) -> None:
    killed(zygote, server, place, Kill(later=changes * percent // 100))
    start(server.record_url, place)
    assert Published.read(place.destination) == undisturbed


@pytest.mark.parametrize(
    "kill",
    [
        Kill(event="os.remove", name=CARD),
        *(Kill(event="os.remove", name=CARD, later=n) for n in (1, 4, 13)),
        Kill(event="os.rename", name=CARD),
        Kill(event="os.rename", name=CARD, later=1),
    ],
    ids=str,
)
def test_killed_between_two_datasets_there_is_the_old_one_the_new_one_or_none(
    zygote: Zygote, server: RecordServer, place: Place, *, undisturbed: Published, old: Path, kill: Kill
) -> None:
    shutil.copytree(old, place.destination)
    before = Published.read(place.destination)
    killed(zygote, server, place, kill)
    if kill == Kill(event="os.remove", name=CARD):
        left = Published.read(place.destination).sha256
        assert {name: left[name] for name in before.sha256} == before.sha256
    start(server.record_url, place)
    assert Published.read(place.destination) == undisturbed


@pytest.mark.parametrize("write", [40, 118])
def test_killed_in_the_middle_of_a_write(
    zygote: Zygote, server: RecordServer, place: Place, *, undisturbed: Published, old: Path, write: int
) -> None:
    shutil.copytree(old, place.destination)
    before = Published.read(place.destination).sha256
    killed(zygote, server, place, Kill(write=write))
    left = Published.read(place.destination).sha256
    assert {name: left[name] for name in before} == before
    start(server.record_url, place)
    assert Published.read(place.destination) == undisturbed


def test_killed_again_and_again(
    zygote: Zygote, server: RecordServer, place: Place, undisturbed: Published, changes: int
) -> None:
    step, statuses = changes // 8, [KILLED]
    while statuses[-1] == KILLED:
        zygote.begin(server.record_url, place, Kill(later=step * len(statuses)))
        statuses.append(zygote.end())
        require_whole_or_none(place.destination)
    assert statuses[-1] == 0
    assert len(statuses) > 4
    assert [request.status for request in server.requests_for(IMAGES)].count(206) == 0
    assert Published.read(place.destination) == undisturbed


def test_killed_in_a_download_the_next_run_fetches_the_rest(
    zygote: Zygote, server: RecordServer, place: Place, undisturbed: Published
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=700_000)]
    process = zygote.begin(server.record_url, place)
    until(
        lambda: any(path.stat().st_size >= 512 << 10 for path in place.work.glob(f"archives/*/{IMAGES}.part"))
    )
    os.kill(process, signal.SIGKILL)
    assert zygote.end() == KILLED
    start(server.record_url, place)
    first, second = server.requests_for(IMAGES)
    begun = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 512 << 10 <= begun <= 700_000
    assert (first.sent, second.status) == (700_000, 206)
    assert second.sent == (server.folder / IMAGES).stat().st_size - begun
    assert Published.read(place.destination) == undisturbed


def test_killed_in_a_stream_the_next_run_makes_the_other_tiles(
    zygote: Zygote, server: RecordServer, place: Place, *, undisturbed: Published, sample: Sample
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=(server.folder / IMAGES).stat().st_size * 2 // 3)]
    process = zygote.begin(server.record_url, place, transfer="stream")
    until(lambda: bool(place.files(f"results/{sample.tiles[0]}-*")))
    os.kill(process, signal.SIGKILL)
    assert zygote.end() == KILLED
    runs = observed(server.record_url, place, transfer="stream")
    assert sample.tiles[-1] in runs.named("extract")
    assert len(runs.of("convert")) == len(sample.tiles)
    assert Published.read(place.destination) == undisturbed
