import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigearthnet.errors import BusyError
from bigearthnet.store.s3.lock import lock_prefix
from bigearthnet.store.s3.lock_owner import LockOwner
from bigearthnet.store.s3.prefix import Prefix
from tests.support.places import BucketPlace, moto_place, put_server_clock_ahead

HOUR = 3600.0
CHILD = """
import sys
from bigearthnet.store.s3.lock_owner import LockOwner
print(LockOwner.of_this_process("first").model_dump_json(), flush=True)
sys.stdin.read()
"""


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
    found: dict[str, Any] = json.loads(place.files()[".lock"])
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
    with lock_prefix(prefix, "blue-fox", clock=clock, every_seconds=HOUR) as lock:
        contents = [content(place)]
        clock.now += 10_000  # it was suspended, and nobody came
        for _ in range(2):
            lock.check()
            contents.append(content(place))
        assert len({each["refreshes"] for each in contents}) == 3
        assert {each["name"].partition(" (")[0] for each in contents} == {"run blue-fox"}
        message = r"belongs to run blue-fox \(process \d+ on .+\), refreshed \d s ago\. Wait until"
        with pytest.raises(BusyError, match=message), lock_prefix(prefix, "second"):
            pass
    assert place.files() == {}


@pytest.mark.parametrize("server", [None, refuse_replacing])
def test_a_lock_that_nobody_refreshed_is_taken_over_and_the_first_owner_notices(
    place: BucketPlace, prefix: Prefix, clock: Clock, server: Any
) -> None:
    if server is not None:
        server(place)
    with lock_prefix(prefix, "first", clock=clock, every_seconds=HOUR) as first:
        put_server_clock_ahead(place, 590)
        with pytest.raises(BusyError, match="belongs to run first"), lock_prefix(prefix, "second"):
            pass
        put_server_clock_ahead(place, 601)
        with lock_prefix(prefix, "second", every_seconds=HOUR) as second:
            first.check_if_old()  # by its own clock it is not
            clock.now += 600
            with pytest.raises(BusyError, match=r"run first .* lost s3://.*/\.lock: .* Make sure"):
                first.check_if_old()
            second.check()
            assert content(place)["name"].startswith("run second ")
        assert place.files() == {}
    assert place.files() == {}


def test_of_a_process_of_this_machine_it_is_known_when_it_ends(place: BucketPlace, prefix: Prefix) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        owner = LockOwner.model_validate_json(child.stdout.readline())
        assert owner.process == child.pid
        assert not owner.has_ended()
        assert owner.model_copy(update={"started": "1"}).has_ended()  # its number was used again
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert owner.has_ended()  # a zombie: dead, though its number is still taken
    elsewhere = owner.model_copy(update={"machine": "another"})
    assert not elsewhere.has_ended()
    place.put(".lock", elsewhere.model_dump_json().encode())
    with pytest.raises(BusyError, match="belongs to run first"), lock_prefix(prefix, "second"):
        pass
    place.put(".lock", owner.model_dump_json().encode())
    with lock_prefix(prefix, "second"):
        assert content(place)["name"].startswith("run second ")


def test_a_machine_without_an_id_is_like_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "readlink", Path("/not/there").stat)
    owner = LockOwner.of_this_process("first")
    assert not owner.model_copy(update={"started": "1"}).has_ended()


def test_of_two_that_take_a_lock_in_the_same_moment_one_gets_it(place: BucketPlace, prefix: Prefix) -> None:
    def write_before(**_: Any) -> None:
        place.client.meta.events.unregister("provide-client-params.s3.PutObject", write_before)
        place.put(".lock", b"of another")

    place.client.meta.events.register("provide-client-params.s3.PutObject", write_before)
    with pytest.raises(BusyError, match="was taken by another run just now"), lock_prefix(prefix, "run"):
        pass
    assert place.files() == {".lock": b"of another"}


def test_a_lock_of_another_is_not_released(
    place: BucketPlace, prefix: Prefix, caplog: pytest.LogCaptureFixture
) -> None:
    with lock_prefix(prefix, "first", every_seconds=HOUR):
        place.put(".lock", b"of another")
    assert place.files() == {".lock": b"of another"}
    assert "/.lock is not ours any more" in caplog.text
    message = r"does not say which run wrote it\. Remove it"
    with pytest.raises(BusyError, match=message), lock_prefix(prefix, "run"):
        pass


def test_a_lock_is_refreshed_in_the_background_until_it_is_lost(place: BucketPlace, prefix: Prefix) -> None:
    refreshed = threading.Event()
    seconds = iter(range(10**9))

    def clock() -> float:
        now = next(seconds)
        if now > 10:
            refreshed.set()
        return now

    with lock_prefix(prefix, "run", clock=clock, every_seconds=0.001, stale_after_seconds=10**9) as lock:
        assert refreshed.wait(60)
        assert content(place)["refreshes"] > 1
        place.put(".lock", b"of another")
        assert lock.lost.wait(60)
        with pytest.raises(BusyError, match="taken over, removed"):
            lock.check_if_old()


def test_a_lock_that_cannot_be_refreshed_for_too_long_is_lost(
    place: BucketPlace, prefix: Prefix, clock: Clock
) -> None:
    with lock_prefix(prefix, "run", clock=clock, every_seconds=HOUR) as lock:
        place.client.meta.events.register("before-call.s3.PutObject", lambda **_: answer("SlowDown", 503))
        clock.now += 599
        lock.check()
        clock.now += 1
        with pytest.raises(BusyError, match="not refreshed for 600 s"):
            lock.check()
