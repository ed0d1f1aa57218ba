"""What server and worker take while nothing happens, with the settings of the host."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from deployments.processes import descendants
from tests.support.served import SERVER, WORKER
from tests.support.services import host_services

_SETTLE_SECONDS = 60.0
"""How long until what comes of the start is over."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Percent of a core that server and worker took."""

    server: float
    worker: float


def idle(seconds: float) -> Idle:
    """Measure for so many seconds."""
    with tempfile.TemporaryDirectory() as home, host_services(Path(home)):
        time.sleep(_SETTLE_SECONDS)
        numbers = [_process(SERVER), _process(WORKER)]
        before = [_cpu_seconds(number) for number in numbers]
        time.sleep(seconds)
        server, worker = (
            100 * (_cpu_seconds(number) - was) / seconds for number, was in zip(numbers, before, strict=True)
        )
        return Idle(server, worker)


def _process(part: str) -> int:
    """Return the id of the child whose command line has this text."""
    (found,) = (
        number
        for number in descendants(os.getpid())
        if part in Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    )
    return found


def _cpu_seconds(number: int) -> float:
    """CPU-seconds of a process so far: fields utime and stime of /proc/<number>/stat (proc(5))."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
