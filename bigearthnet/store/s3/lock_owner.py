"""The run that has locked a prefix, as its lock says, and whether that run may still be working."""

import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class LockOwner(BaseModel):
    """The content of a lock: a run and its process, so that others on its machine can tell if it runs."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    run: str
    host: str
    machine: str
    """Stays over restarts; empty where it is not known."""
    boot: str
    """Changes with each restart; empty where it is not known."""
    namespace: str
    """Of process numbers: each container has its own."""
    process: int
    started: str
    """Ticks from boot to the start of the process, as its number is used again."""
    id: str
    """Of the lock, at random."""
    since: float
    """Seconds since the epoch by the owner's clock."""
    refreshed: float

    def refreshed_at(self, now: float) -> "LockOwner":
        """The same lock, refreshed."""
        return self.model_copy(update={"refreshed": now})

    def __str__(self) -> str:
        times = [datetime.fromtimestamp(time, UTC) for time in (self.since, self.refreshed)]
        since, refreshed = (f"{time:%Y-%m-%d %H:%M:%S} UTC" for time in times)
        return f"run {self.run} (process {self.process} on {self.host}) since {since}, refreshed {refreshed}"


def this_process(run: str, now: float) -> LockOwner:
    """An owner in the process that calls this."""
    return LockOwner(
        run=run,
        host=socket.gethostname(),
        machine=_content(Path("/etc/machine-id")),
        boot=_content(Path("/proc/sys/kernel/random/boot_id")),
        namespace=str(Path("/proc/self/ns/pid").readlink()),
        process=os.getpid(),
        started=start_of(os.getpid()) or "",
        id=uuid.uuid4().hex,
        since=now,
        refreshed=now,
    )


def start_of(process: int) -> str | None:
    """Start of a process of this machine, in ticks since boot; None if it has ended.

    Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime).
    """
    # The program's name, in parentheses, can hold spaces and parentheses.
    state, *fields = _content(Path(f"/proc/{process}/stat")).rpartition(")")[2].split() or ["X"]
    return None if state in "ZX" else fields[18]


def takeover_reason(
    owner: LockOwner,
    ours: LockOwner,
    stale_after_seconds: float,
    start_of: Callable[[int], str | None] = start_of,
) -> str | None:
    """Why a lock may be taken over by `ours`, which was refreshed now; None if its owner may be working."""
    if owner.host == ours.host:
        same_boot = owner.boot == ours.boot != "" and owner.namespace == ours.namespace
        if same_boot and start_of(owner.process) != owner.started:
            return "its process has ended"
        if owner.machine == ours.machine != "" and "" != owner.boot != ours.boot != "":
            return "its machine has restarted since"
    if ours.refreshed - owner.refreshed >= stale_after_seconds:
        return f"it was not refreshed for {stale_after_seconds:g} s"
    return None


def _content(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
