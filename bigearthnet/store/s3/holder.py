"""Who holds a place in a bucket, as its lock says, and whether that run may still be at work."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Process(BaseModel):
    """A process, so that another one on the same machine can tell whether it still runs.

    Attributes:
        host: name of its machine.
        machine: the machine's id, which outlives a restart; empty where it has none.
        boot: of the kernel, until the next restart; empty where it has none.
        namespace: what its number counts in: containers have their own.
        process: its number.
        started: when, in the kernel's ticks since boot, as a number is used again.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    host: str
    machine: str
    boot: str
    namespace: str
    process: int
    started: str


class Holder(BaseModel):
    """What stands in a lock.

    Attributes:
        run: name of the run.
        by: the process it runs in.
        lease: number of the lease in that process.
        since: when the place was taken, in seconds since the epoch by the holder's clock.
        refreshed: when the lock was last written, likewise.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    run: str
    by: Process
    lease: int
    since: float
    refreshed: float

    def is_same(self, other: "Holder") -> bool:
        """Whether both are of one lease."""
        return (self.by, self.lease, self.since) == (other.by, other.lease, other.since)

    def __str__(self) -> str:
        return (
            f"run {self.run} (process {self.by.process} on {self.by.host}) since {_utc(self.since)}, "
            f"refreshed {_utc(self.refreshed)}"
        )


def this_process() -> Process:
    """The process that calls."""
    return Process(
        host=socket.gethostname(),
        machine=_line(Path("/etc/machine-id")),
        boot=_line(Path("/proc/sys/kernel/random/boot_id")),
        namespace=_namespace(),
        process=os.getpid(),
        started=start_of(os.getpid()) or "",
    )


def start_of(process: int) -> str | None:
    """When a process of this machine started, in ticks since boot; None if it has ended.

    Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime).
    """
    try:
        # The program's name, in parentheses, can hold spaces and parentheses.
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else fields[18]


def why_free(
    holder: Holder,
    here: Process,
    now: float,
    *,
    stale_after_seconds: float,
    start_of: Callable[[int], str | None] = start_of,
) -> str | None:
    """Why a lock may be taken over, or None if its holder may still be at work.

    Args:
        holder: what stands in the lock.
        here: this process.
        now: seconds since the epoch.
        stale_after_seconds: how long a lock counts that is not refreshed.
        start_of: when a process of this machine started, None if it has ended.
    """
    by = holder.by
    same_boot = by.boot == here.boot != "" and by.host == here.host and by.namespace == here.namespace
    if same_boot and start_of(by.process) != by.started:
        return "its process has ended"
    same_machine = by.machine == here.machine != "" and by.host == here.host
    if same_machine and "" not in (by.boot, here.boot) and by.boot != here.boot:
        return "its machine has restarted since"
    if now - holder.refreshed >= stale_after_seconds:
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
