import os
import subprocess
import sys
from pathlib import Path

import pytest
from bigearthnet.store.s3.holder import Holder, Process, start_of, this_process, why_free

HERE = Process(host="host", machine="m", boot="b", namespace="pid:[1]", process=10, started="500")
linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


def why(by: Process, *, refreshed: float = 1000, now: float = 1000, started: str | None = None) -> str | None:
    holder = Holder(run="run", by=by, lease=1, since=0, refreshed=refreshed)
    return why_free(holder, HERE, now, stale_after_seconds=600, start_of=lambda _: started)


def other(**changes: str | int) -> Process:
    return HERE.model_copy(update={"process": 20, "started": "400", **changes})


def test_a_process_of_this_machine_counts_as_long_as_it_runs() -> None:
    assert why(other(), started="400") is None
    assert why(other(), started=None) == "its process has ended"
    assert why(other(), started="401") == "its process has ended"  # its number was used again


@pytest.mark.parametrize(
    "by",
    [
        pytest.param(other(host="other", machine="n", boot="c"), id="another machine"),
        pytest.param(other(machine="n", boot="c"), id="another machine of the same name"),
        pytest.param(other(namespace="pid:[2]"), id="another container"),
        pytest.param(other(host="other"), id="a copy of this machine"),
        pytest.param(other(machine="", boot=""), id="a machine that tells nothing"),
    ],
)
def test_of_other_processes_only_the_time_is_known(by: Process) -> None:
    assert why(by) is None
    assert why(by, now=1599.9) is None
    assert why(by, now=1600) == "it was not refreshed for 600 s"
    assert why(by, now=0) is None  # its clock is ahead


def test_two_machines_that_tell_nothing_are_not_one() -> None:
    silent = Process(host="host", machine="", boot="", namespace="", process=1, started="")
    holder = Holder(run="run", by=silent, lease=1, since=0, refreshed=0)
    assert why_free(holder, silent, 0, stale_after_seconds=600, start_of=lambda _: None) is None


def test_a_restart_ends_all_processes() -> None:
    assert why(other(boot="before")) == "its machine has restarted since"


def test_a_running_holder_that_does_not_refresh_has_lost_it() -> None:
    assert why(other(), started="400", now=1600) == "it was not refreshed for 600 s"


@linux_only
def test_this_process_runs() -> None:
    here = this_process()
    assert here.process == os.getpid()
    assert here.started == start_of(os.getpid())
    assert here.boot
    assert here.namespace


@linux_only
def test_a_process_starts_once_and_ends() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        started = start_of(child.pid)
        assert started is not None
        ticks = int(started) - int(start_of(os.getpid()) or "")
        assert ticks > 0
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_of(child.pid) is None  # a zombie: dead, though its number is still taken
    assert start_of(child.pid) is None


def test_a_holder_is_told_with_times() -> None:
    holder = Holder(run="blue-fox", by=HERE, lease=1, since=86400, refreshed=90061)
    assert str(holder) == (
        "run blue-fox (process 10 on host) since 1970-01-02 00:00:00 UTC, refreshed 1970-01-02 01:01:01 UTC"
    )
