"""Runs in a control group with little memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from campaign.registry import kind
from campaign.trial import Skipped, Trial

_HIERARCHIES: Final = {"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"}
_MOST_MIB: Final = 120
"""An undisturbed run takes less, beside what it shares with the process that forked it."""


@kind("memory-limit")
def limit_memory(trial: Trial) -> None:
    """The kernel kills a run that needs more."""
    home = trial.folder_home()
    with _group(trial, trial.random.randrange(1, _MOST_MIB) << 20) as group:
        trial.begin(home, change=partial(_join, group)).end()
    trial.require_old_or_new(home)
    trial.require_recovery(home)


@contextmanager
def _group(trial: Trial, limit: int) -> Iterator[Path]:
    """Make a control group with so many bytes of memory, and remove it at the end of the block."""
    for hierarchy, name in _HIERARCHIES.items():
        group = Path(hierarchy, f"campaign-{os.getpid()}-{trial.folder.name}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / name).exists():
                (group / name).write_text(str(limit))
                yield group
                return
        finally:
            group.rmdir()
    raise Skipped("no control group for memory can be made")


def _join(group: Path) -> None:
    """In the child."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
