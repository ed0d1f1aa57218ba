"""Processes of runs, found and ended: real ones, of this test's own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from deployments.processes import end, processes_of

SIGNALLED = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
LAST = "print('up', flush=True); sys.stdin.read()"


class Runs:
    """Starts processes as a worker does."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, run: UUID, code: str = SIGNALLED) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; {code}; {LAST}"],
            env=os.environ | {"PREFECT__FLOW_RUN_ID": str(run)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process


@pytest.fixture
def runs() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    for process in runs.started:
        process.kill()
        process.communicate()


def test_a_run_is_found_by_its_id(runs: Runs) -> None:
    first, second = uuid4(), uuid4()
    mine, other = runs.start(first), runs.start(second)
    assert processes_of([first]) == [mine.pid]
    assert processes_of([first, second]) == sorted([mine.pid, other.pid])
    assert processes_of([uuid4()]) == []
    assert processes_of([]) == []


def test_a_process_that_has_ended_is_not_found_even_before_anyone_has_asked_how(runs: Runs) -> None:
    run = uuid4()
    process = runs.start(run)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert processes_of([run]) == []


def test_a_run_ends_in_good_order_and_others_go_on(runs: Runs) -> None:
    run = uuid4()
    process, child, other = runs.start(run), runs.start(run), runs.start(uuid4())
    assert end([run]) == 2
    assert (process.wait(0), child.wait(0)) == (7, 7)
    assert other.poll() is None


def test_a_run_that_does_not_listen_is_killed(runs: Runs) -> None:
    run = uuid4()
    process = runs.start(run, DEAF)
    assert end([run], grace_seconds=0.2) == 1
    assert process.wait(0) == -signal.SIGKILL


def test_without_processes_nobody_waits() -> None:
    def no_sleep(_seconds: float) -> None:
        raise AssertionError("there was nothing to wait for")

    assert end([uuid4()], sleep=no_sleep) == 0


def test_processes_that_are_gone_or_not_ours_are_passed_over(tmp_path: Path) -> None:
    run = uuid4()
    for name, content in (
        ("1", b"A=1\0"),
        ("22", f"A=1\0PREFECT__FLOW_RUN_ID={run}\0".encode()),
        ("333", None),
    ):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "environ").write_bytes(content)
    (tmp_path / "self").mkdir()
    assert processes_of([run], tmp_path) == [22]
