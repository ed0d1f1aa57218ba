import json
from collections.abc import Iterator
from typing import Any

import pytest
from bigearthnet.store.s3.lock import hold
from bigearthnet.store.s3.objects import Bucket

from bigearthnet.errors import BusyError
from tests.support.moto_bucket import moto_bucket

HOUR = 3600.0


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with moto_bucket() as bucket:
        yield bucket


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lock(bucket: Bucket) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(bucket.read(".lock") or b"{}")
    return content


def test_the_lock_says_whose_it_is(bucket: Bucket, clock: Clock) -> None:
    with hold(bucket, "blue-fox", clock=clock, every_seconds=HOUR):
        assert lock(bucket)["run"] == "blue-fox"
        assert lock(bucket)["since"] == lock(bucket)["refreshed"] == 1_000_000
        assert {"host", "boot", "process", "started"} <= set(lock(bucket)["by"])
    assert bucket.head(".lock") is None


def test_a_second_holder_is_refused_in_the_same_process_too(bucket: Bucket, clock: Clock) -> None:
    message = (
        r"expected s3://bucket/data to be free, found it held by run first .* since 1970-01-12 13:46:40 UTC"
    )
    with hold(bucket, "first", clock=clock, every_seconds=HOUR) as lease:
        with pytest.raises(BusyError, match=message), hold(bucket, "second", clock=clock):
            pass
        lease.check()
        assert lock(bucket)["run"] == "first"


def test_a_lock_is_released_whatever_ends_the_block(bucket: Bucket) -> None:
    with pytest.raises(KeyboardInterrupt), hold(bucket, "run"):
        raise KeyboardInterrupt
    assert bucket.head(".lock") is None


def test_a_lock_that_nobody_refreshed_is_taken_over_and_the_first_told(bucket: Bucket, clock: Clock) -> None:
    other = Clock()
    with hold(bucket, "first", clock=clock, every_seconds=HOUR) as first:
        other.now += 599
        with pytest.raises(BusyError, match="held by run first"), hold(bucket, "second", clock=other):
            pass
        other.now += 1
        with hold(bucket, "second", clock=other, every_seconds=HOUR) as second:
            clock.now = other.now  # the first was asleep all the time
            with pytest.raises(BusyError, match=r"expected run first to hold s3://bucket/data until its end"):
                first.check()
            assert first.lost.is_set()
            second.check()
            assert lock(bucket)["run"] == "second"
    assert bucket.head(".lock") is None


def test_a_lock_of_another_is_not_released(
    bucket: Bucket, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with hold(bucket, "first", clock=clock, every_seconds=HOUR):
        bucket.write(".lock", b"of another")
    assert bucket.read(".lock") == b"of another"
    assert "the lock of s3://bucket/data is not ours any more" in caplog.text


def test_the_keeper_notices_the_loss_by_itself(bucket: Bucket) -> None:
    with hold(bucket, "first", every_seconds=0.01) as lease:
        bucket.write(".lock", b"of another")
        assert lease.lost.wait(60)
        with pytest.raises(BusyError, match="taken over, removed"):
            lease.check()


def test_one_who_was_asleep_goes_on_if_nobody_came(bucket: Bucket, clock: Clock) -> None:
    with hold(bucket, "first", clock=clock, every_seconds=HOUR) as lease:
        clock.now += 10_000
        lease.check()
        assert lock(bucket)["refreshed"] == clock.now
        assert not lease.lost.is_set()


def test_a_lock_that_says_nothing_is_left_alone(bucket: Bucket) -> None:
    bucket.write(".lock", b"{}")
    message = r"found a \.lock that says nothing of its holder; remove it"
    with pytest.raises(BusyError, match=message), hold(bucket, "run"):
        pass
    assert bucket.read(".lock") == b"{}"


def lose_answers(bucket: Bucket) -> list[int]:
    """Let each write to the lock arrive twice, as when its first answer is lost and botocore asks again."""
    begun: list[int] = []

    def write_before(params: dict[str, Any], **_: Any) -> None:
        begun.append(1)
        if len(begun) % 2:
            bucket.client.put_object(**params)

    bucket.client.meta.events.register("provide-client-params.s3.PutObject", write_before)
    return begun


def test_a_lock_whose_answer_was_lost_is_ours_all_the_same(bucket: Bucket, clock: Clock) -> None:
    begun = lose_answers(bucket)
    with hold(bucket, "first", clock=clock, every_seconds=HOUR) as lease:
        assert len(begun) == 2
        clock.now += 10_000
        lease.check()
        assert len(begun) == 4
        assert lock(bucket)["refreshed"] == clock.now
        lease.check()
    assert bucket.head(".lock") is None
