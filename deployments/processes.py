"""Which processes of this host belong to which flow run, and how they are ended."""

import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from uuid import UUID

GRACE_SECONDS = 25.0
"""How long a run may take to clean up before it is killed."""
_KILL_SECONDS = 3.0
_RUN = b"PREFECT__FLOW_RUN_ID="
"""A worker starts a run's process with this; children inherit it. A number used anew does not have it."""


def processes_of(runs: Collection[UUID], proc: Path = Path("/proc")) -> list[int]:
    """Numbers of this host's living processes that were started for one of these runs."""
    wanted = {_RUN + str(run).encode() for run in runs}
    return sorted(
        int(folder.name)
        for folder in proc.iterdir()
        if folder.name.isdecimal() and wanted.intersection(_environment(folder))
    )


def end(
    runs: Collection[UUID],
    grace_seconds: float = GRACE_SECONDS,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """End the processes of these runs: SIGTERM, so that they clean up, and SIGKILL after the grace.

    Returns:
        How many processes there were.
    """
    processes = processes_of(runs)
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILL_SECONDS)):
        left = processes_of(runs)
        _signal(left, number)
        deadline = clock() + seconds
        while left and clock() < deadline:
            sleep(0.1)
            left = processes_of(runs)
    return len(processes)


def _environment(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")  # empty for one that has ended
    except OSError:  # gone meanwhile, or another user's
        return []


def _signal(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue
