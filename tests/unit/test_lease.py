import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bigearthnet.errors import BusyError
from bigearthnet.store.s3.lease import Lease, lease
from bigearthnet.store.s3.lock_owner import LockOwner, start_of, takeover_reason, this_process
from bigearthnet.store.s3.prefix import Prefix
from tests.support.places import BucketPlace, moto_place

HOUR = 3600.0
OURS = this_process("second", 1000).model_copy(
    update={"host": "host", "machine": "m", "boot": "b", "namespace": "pid:[1]"}
)


def reason(owner: LockOwner, *, now: float = 1000, started: str | None = None) -> str | None:
    ours = OURS.model_copy(update={"refreshed": now})
    return takeover_reason(owner, ours, 600, start_of=lambda _: started)


def other(**changes: str | int) -> LockOwner:
    return OURS.model_copy(update={"run": "first", "process": 20, "started": "400", **changes})


def test_a_process_of_this_machine_counts_as_long_as_it_runs() -> None:
    assert reason(other(), started="400") is None
    assert reason(other(), started=None) == "its process has ended"
    assert reason(other(), started="401") == "its process has ended"  # its number was used again
    assert reason(other(), started="400", now=1600) == "it was not refreshed for 600 s"
    assert reason(other(boot="before")) == "its machine has restarted since"


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "other", "machine": "n", "boot": "c"},
        {"machine": "n", "boot": "c"},  # another machine of the same name
        {"namespace": "pid:[2]"},  # another container
        {"host": "other"},  # a copy of this machine
        {"machine": "", "boot": ""},
    ],
    ids=str,
)
def test_of_other_processes_only_the_time_is_known(changes: dict[str, str]) -> None:
    owner = other(**changes)
    assert reason(owner) is None
    assert reason(owner, now=1599.9) is None
    assert reason(owner, now=1600) == "it was not refreshed for 600 s"
    assert reason(owner, now=0) is None  # its clock is ahead


def test_two_machines_without_ids_are_not_one() -> None:
    silent = other(machine="", boot="", namespace="")
    assert takeover_reason(silent, silent, 600, start_of=lambda _: None) is None


def test_a_process_starts_once_and_ends() -> None:
    here = this_process("run", 0)
    assert (here.process, here.started) == (os.getpid(), start_of(os.getpid()))
    assert here.boot
    assert here.namespace
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert int(start_of(child.pid) or 0) > int(here.started)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_of(child.pid) is None  # a zombie: dead, though its number is still taken
    assert start_of(child.pid) is None


class Clock:
    """Stands still until a test moves it."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place() -> Iterator[BucketPlace]:
    with moto_place() as place:
        yield place


@pytest.fixture
def prefix(place: BucketPlace) -> Prefix:
    return Prefix(place.client, place.bucket, place.prefix)


def content(place: BucketPlace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.files().get(".lock", b"{}"))
    return found


def answer(code: str, status: int) -> tuple[Any, dict[str, Any]]:
    """An error in place of a response."""
    error = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return type("Raw", (), {"status_code": status}), error


def refuse_replacing(place: BucketPlace) -> None:
    """As servers do that know no conditional replacement."""

    def refuse(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]] | None:
        return answer("NotImplemented", 501) if "If-Match" in params["headers"] else None

    place.client.meta.events.register("before-call.s3.PutObject", refuse)


def lose_responses(place: BucketPlace) -> None:
    """Let each write arrive twice, as when its first response is lost and botocore asks again."""
    writes: list[int] = []

    def write_before(params: dict[str, Any], **_: Any) -> None:
        writes.append(1)
        if len(writes) % 2:
            place.client.put_object(**params)

    place.client.meta.events.register("provide-client-params.s3.PutObject", write_before)


@pytest.mark.parametrize("server", [None, refuse_replacing, lose_responses])
def test_a_lock_is_held_refreshed_and_released(
    place: BucketPlace, prefix: Prefix, clock: Clock, server: Any
) -> None:
    if server is not None:
        server(place)
    with lease(prefix, "blue-fox", clock=clock, every_seconds=HOUR) as held:
        assert content(place)["run"] == "blue-fox"
        clock.now += 10_000  # it was suspended, and nobody came
        held.check()
        held.check()
        assert content(place)["since"] == 1_000_000
        assert content(place)["refreshed"] == 1_010_000
        with pytest.raises(BusyError, match=r"belongs to run blue-fox .* since 1970-01-12 13:46:40 UTC"):
            Lease(prefix, "second", clock, 600)
    assert place.files() == {}


@pytest.mark.parametrize("server", [None, refuse_replacing])
def test_a_lock_that_nobody_refreshed_is_taken_over_and_the_first_owner_notices(
    place: BucketPlace, prefix: Prefix, clock: Clock, server: Any
) -> None:
    if server is not None:
        server(place)
    other = Clock()
    with lease(prefix, "first", clock=clock, every_seconds=HOUR) as first:
        other.now += 599
        with pytest.raises(BusyError, match="belongs to run first"), lease(prefix, "second", clock=other):
            pass
        other.now += 1
        with lease(prefix, "second", clock=other, every_seconds=HOUR) as second:
            first.check_if_old()  # by its own clock it is not
            clock.now = other.now
            with pytest.raises(BusyError, match=r"run first lost s3://.*/\.lock: .* Make sure"):
                first.check_if_old()
            assert first.lost.is_set()
            second.check()
            assert content(place)["run"] == "second"
        assert place.files() == {}
    assert place.files() == {}


def test_a_lock_of_another_is_not_released(
    place: BucketPlace, prefix: Prefix, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with lease(prefix, "first", clock=clock, every_seconds=HOUR):
        place.put(".lock", b"of another")
    assert place.files() == {".lock": b"of another"}
    assert "/.lock is not ours any more" in caplog.text
    with pytest.raises(BusyError, match=r"does not say which run wrote it\. Remove it"), lease(prefix, "run"):
        pass


def test_a_lock_is_refreshed_in_the_background_until_it_is_lost(place: BucketPlace, prefix: Prefix) -> None:
    seconds = iter(range(1000, 10**9))
    refreshed = threading.Event()

    def clock() -> float:
        now = next(seconds)
        if now > 1010:
            refreshed.set()
        return now

    with lease(prefix, "run", clock=clock, every_seconds=0.001, stale_after_seconds=10**9) as held:
        assert refreshed.wait(60)
        assert content(place)["since"] == 1000
        assert content(place)["refreshed"] > 1000
        place.put(".lock", b"of another")
        assert held.lost.wait(60)
        with pytest.raises(BusyError, match="taken over, removed"):
            held.check_if_old()


def test_a_lock_that_cannot_be_refreshed_for_too_long_is_lost(
    place: BucketPlace, prefix: Prefix, clock: Clock
) -> None:
    with lease(prefix, "run", clock=clock, every_seconds=HOUR) as held:
        place.client.meta.events.register("before-call.s3.PutObject", lambda **_: answer("SlowDown", 503))
        clock.now += 599
        held.check()
        clock.now += 1
        with pytest.raises(BusyError, match="not refreshed for 600 s"):
            held.check()
