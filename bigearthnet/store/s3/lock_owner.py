"""The run that has locked a prefix, as its lock says, and whether that run may still be working."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Process(BaseModel):
    """A process, so that another one on the same machine can tell if it still runs.

    Attributes:
        host: name of its machine.
        machine: id of the machine, which stays over restarts; empty where it has none.
        boot: id of the kernel's run, until the next restart; empty where it has none.
        namespace: of process numbers: each container has its own.
        process: its number.
        started: its start in the kernel's ticks since boot, as a number is used again.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    host: str
    machine: str
    boot: str
    namespace: str
    process: int
    started: str


class LockOwner(BaseModel):
    """The content of a lock.

    Attributes:
        run: name of the run.
        by: its process.
        lease: number of the lock within that process.
        since: time of locking, seconds since the epoch by the owner's clock.
        refreshed: time of the last write, likewise.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    run: str
    by: Process
    lease: int
    since: float
    refreshed: float

    def is_same(self, other: "LockOwner") -> bool:
        """True if both are of one lock."""
        return (self.by, self.lease, self.since) == (other.by, other.lease, other.since)

    def __str__(self) -> str:
        return (
            f"run {self.run} (process {self.by.process} on {self.by.host}) since {_utc(self.since)}, "
            f"refreshed {_utc(self.refreshed)}"
        )


def this_process() -> Process:
    """The process that calls this."""
    return Process(
        host=socket.gethostname(),
        machine=_line(Path("/etc/machine-id")),
        boot=_line(Path("/proc/sys/kernel/random/boot_id")),
        namespace=_namespace(),
        process=os.getpid(),
        started=start_of(os.getpid()) or "",
    )


def start_of(process: int) -> str | None:
    """Start of a process of this machine, in ticks since boot; None if it has ended.

    Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime).
    """
    try:
        # The program's name, in parentheses, can hold spaces and parentheses.
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else fields[18]


def takeover_reason(
    owner: LockOwner,
    here: Process,
    now: float,
    *,
    stale_after_seconds: float,
    start_of: Callable[[int], str | None] = start_of,
) -> str | None:
    """Why a lock may be taken over; None if its owner may still be working.

    Args:
        owner: the content of the lock.
        here: this process.
        now: seconds since the epoch.
        stale_after_seconds: time that a lock counts without being refreshed.
        start_of: start of a process of this machine, None if it has ended.
    """
    by = owner.by
    same_boot = by.boot == here.boot != "" and by.host == here.host and by.namespace == here.namespace
    if same_boot and start_of(by.process) != by.started:
        return "its process has ended"
    same_machine = by.machine == here.machine != "" and by.host == here.host
    if same_machine and "" not in (by.boot, here.boot) and by.boot != here.boot:
        return "its machine has restarted since"
    if now - owner.refreshed >= stale_after_seconds:
        return f"it was not refreshed for {stale_after_seconds:g} s"
    return None


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
