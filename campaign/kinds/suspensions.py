"""Runs that are suspended, and runs on machines whose clocks differ."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from botocore import auth

import bigearthnet.store.s3.store
from bigearthnet.store.s3.lock import lock_prefix
from campaign.registry import kind
from campaign.trial import Run, Trial
from campaign.world import BUCKET_STEP, RUN_SECONDS
from tests.support.archives import IMAGES
from tests.support.places import BucketPlace
from tests.support.record_server import Fault
from tests.support.runs import Home
from tests.support.zygote import Kill

LEASE_SECONDS: Final = 3.0
APART_SECONDS: Final = 600
OTHER: Final = {"rendering": {"stretch": "percentile", "mask_classes": "clc_l1"}}
"""Parameters of the suspended run, so that it would show if its files got in between."""


@dataclass(frozen=True, slots=True)
class Clock:
    """In a child: shorten the lease of a bucket's lock, and set the clock ahead."""

    ahead_seconds: float = 0

    def __call__(self) -> None:
        """Do both."""
        signing: Any = auth
        store: Any = bigearthnet.store.s3.store
        now, now_utc = time.time, signing.get_current_datetime
        ahead = timedelta(seconds=self.ahead_seconds)

        def later(remove_tzinfo: bool = True) -> datetime:
            found: datetime = now_utc(remove_tzinfo) + ahead
            return found

        signing.get_current_datetime = later
        time.time = lambda: now() + self.ahead_seconds
        store.lock_prefix = partial(
            lock_prefix, clock=time.time, every_seconds=LEASE_SECONDS / 6, stale_after_seconds=LEASE_SECONDS
        )


@kind("stop-beyond-lease", weight=2, seconds=25)
def stop_beyond_the_lease(trial: Trial) -> None:
    """SIGSTOP before a request that changes the bucket; another run takes over, then SIGCONT."""
    home = trial.bucket_home()
    steps = len(trial.world.bucket_steps)
    at = steps - trial.random.randrange(
        trial.random.choice([12, steps - 1])
    )  # the last ones replace the dataset
    first = trial.begin(home, kill=Kill(at, BUCKET_STEP, signal.SIGSTOP), change=Clock(), **OTHER)
    if not stops(first):
        return trial.require_recovery(home)
    _await(lambda: _lock_age(home) > LEASE_SECONDS + 1)
    second = trial.begin(home.beside(trial.folder / "second"), change=Clock())
    assert second.end() == 0, f"the second run did not take over; see {second.log}"
    os.kill(first.process, signal.SIGCONT)
    first.end()
    trial.require_old_or_new(home)
    return trial.require_recovery(home)


@kind("stop-folder")
def stop_in_a_folder(trial: Trial) -> None:
    """SIGSTOP before a change to a file or folder; another run is refused, then SIGCONT."""
    home = trial.folder_home()
    first = trial.begin(home, kill=Kill(trial.random.randint(1, len(trial.world.steps)), by=signal.SIGSTOP))
    if stops(first):
        second = trial.begin(home.beside(trial.folder / "second"))
        trial.require_end(second, home)
        os.kill(first.process, signal.SIGCONT)
    trial.require_end(first, home)
    trial.require_recovery(home)


@kind("clocks-apart", seconds=25)
def clocks_apart(trial: Trial) -> None:
    """The clock of one of two runs is ten minutes ahead or behind; the second one is refused."""
    home = trial.bucket_home()
    clocks = [Clock(trial.random.choice([-APART_SECONDS, APART_SECONDS])), Clock()]
    trial.random.shuffle(clocks)
    trial.world.record.faults[IMAGES] = [Fault(stall_after=1000)]
    trial.world.record.stalled.clear()
    first = trial.begin(home, change=clocks[0])
    assert trial.world.record.stalled.wait(RUN_SECONDS)
    second = trial.begin(home.beside(trial.folder / "second"), change=clocks[1])
    assert trial.require_end(second, home) > 0
    assert "BusyError" in second.log.read_text(), f"the second run was not refused; see {second.log}"
    os.kill(first.process, signal.SIGKILL)
    first.end()
    trial.require_old_or_new(home)
    trial.require_recovery(home, change=clocks[1])


def stops(run: Run) -> bool:
    """Wait until a run is stopped; False if it ended before."""
    _await(lambda: run.zygote.ends_within(0.02) or _is_stopped(run.process))
    return not run.zygote.ends_within(0)


def _is_stopped(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _lock_age(home: Home) -> float:
    """Seconds since the lock was written, by the server's clock."""
    assert isinstance(home.place, BucketPlace)
    at = home.place.client.head_object(Bucket=home.place.bucket, Key=f"{home.place.prefix}/.lock")
    return time.time() - at["LastModified"].timestamp()


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
