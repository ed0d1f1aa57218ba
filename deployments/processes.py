"""Processes below another one: find them, adopt the orphans among them, and end them. Linux only.

`python -m deployments.processes PID` ends the run of the worker with that id. A worker that is ended kills
its run before the run can clean up and report its state.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

RUN_END_SECONDS = 30.0
"""How long a run may take to clean up."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILL_SECONDS = 3.0
_libc = ctypes.CDLL(None)


def adopt_orphans() -> None:
    """Become the parent of what children leave behind: a flow run that outlives its worker."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Have SIGTERM sent to this process when its parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def descendants(root: int) -> set[int]:
    """Return the ids of the living processes below process `root`."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:  # grows
        found += children.get(pid, [])
    return set(found[1:])


def end(living: Callable[[], set[int]], seconds: float) -> None:
    """End processes by SIGTERM, and those that are left after some seconds by SIGKILL.

    Args:
        living: returns their ids; the processes that they start meanwhile are ended too.
        seconds: how long they may take.
    """
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, _KILL_SECONDS)):
        signalled: set[int] = set()
        deadline = time.monotonic() + limit
        while (left := living()) and time.monotonic() < deadline:
            for pid in left - signalled:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            signalled |= left
            time.sleep(0.1)


if __name__ == "__main__":
    end(lambda: descendants(int(sys.argv[1])), RUN_END_SECONDS)
