"""The run that has locked a prefix, as its lock says, and whether its process has ended."""

import os
import uuid
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict

from bigearthnet.errors import one_line
from bigearthnet.store.ownership import describe_owner


class LockOwner(BaseModel):
    """The content of a lock."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    name: Annotated[str, AfterValidator(one_line)]
    """The run, for messages."""
    id: str
    """Of the lock, at random."""
    machine: str
    process: int
    started: str | None
    refreshes: int = 0
    """Gives each version of the lock another ETag."""

    @classmethod
    def of_this_process(cls, run: str) -> Self:
        """An owner in the process that calls this."""
        process = os.getpid()
        return cls(
            name=describe_owner(run),
            id=uuid.uuid4().hex,
            machine=this_machine(),
            process=process,
            started=start_of(process),
        )

    def has_ended(self) -> bool:
        """True if its process ran on this machine and has ended; False also for one of another machine."""
        return self.machine == this_machine() and self.started != start_of(self.process)


def this_machine() -> str:
    """The boot of this machine, and the namespace of its process numbers: each container has its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return uuid.uuid4().hex  # unknown, so like no other


def start_of(process: int) -> str | None:
    """Ticks from boot to the start of a process, as its number is used again; None if it has ended.

    Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime).
    """
    try:
        # The program's name, in parentheses, can hold spaces and parentheses.
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
