"""Processes below one, found and ended: real ones, of this test's own."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from deployments.processes import descendants, end

LAST = "print('up', flush=True); import signal; signal.pause()"
# Ends half a second after SIGTERM, and badly if it gets another one meanwhile, as a worker does.
POLITE = f"""
import signal, sys, time
def end(*_):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(8))
    time.sleep(0.5)
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
{LAST}
"""
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LAST}"
# A child in a session of its own, as a worker starts a run; it outlives its parent and is adopted.
PARENT = f"""
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {DEAF!r}], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
signal.pause()
"""
KILLED = f"""
import os, signal, subprocess, sys
from deployments.processes import adopt_orphans, descendants, end_with_parent
def start(code, **options):
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    process.stdout.readline()
    return process
adopt_orphans()
parent = start({PARENT!r})
(orphan,) = descendants(parent.pid)
parent.kill()
parent.wait()
print(descendants(os.getpid()) == {{orphan}})
os.kill(orphan, signal.SIGKILL)
print(start({POLITE!r}, preexec_fn=end_with_parent).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        for child in descendants(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.communicate()


def test_children_and_their_children_are_found_but_not_dead_ones(start: Start) -> None:
    parent, other = start(PARENT), start(POLITE)
    (child,) = descendants(parent.pid)
    assert {parent.pid, child, other.pid} <= descendants(os.getpid())
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert other.pid not in descendants(os.getpid())


def test_the_run_of_a_worker_is_ended_and_the_worker_is_not(start: Start) -> None:
    worker = start(PARENT.replace(repr(DEAF), repr(POLITE)))
    subprocess.run([sys.executable, "-m", "deployments.processes", str(worker.pid)], check=True)
    assert descendants(worker.pid) == set()
    assert worker.poll() is None


def test_processes_are_ended_in_good_order_and_by_force_if_need_be(start: Start) -> None:
    polite, late, parent = start(POLITE), start(POLITE), start(PARENT)
    below = {polite.pid, late.pid, *descendants(parent.pid)}
    rounds = iter([below - {late.pid}])  # as if it had started meanwhile
    end(lambda: next(rounds, below & descendants(os.getpid())), 2)
    assert (polite.wait(0), late.wait(0)) == (7, 7)
    assert descendants(parent.pid) == set()
    assert parent.poll() is None


def test_an_orphan_is_adopted_and_a_child_ends_with_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False)
    adopted, bound = done.stdout.split()
    assert adopted == "True"
    with suppress(ProcessLookupError):
        assert select.select([os.pidfd_open(int(bound))], [], [], 10)[0], "the child is still running"
