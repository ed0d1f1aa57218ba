"""Disks that are full, break down or lose their power in the middle of a run."""

import os
import signal
from collections.abc import Callable

from campaign.kinds.suspensions import stops
from campaign.registry import kind
from campaign.trial import Run, Trial
from campaign.world import Start
from tests.support.disk import Disk, mounted
from tests.support.published import Published
from tests.support.runs import Home
from tests.support.zygote import KILLED, Kill, Zygote


@kind("disk-full")
def fill_disk(trial: Trial) -> None:
    """Few bytes are left on the disk of work folder and destination."""
    left = trial.random.choice((0, trial.random.randrange(30_000), trial.random.randrange(400_000)))
    with mounted(trial.folder, trial.random.choice(("tmpfs", "ext4"))) as disk:
        _go_on_with(trial, disk, lambda: disk.fill(left), disk.make_room)


@kind("no-inodes")
def use_up_inodes(trial: Trial) -> None:
    """Few more files and folders can be made."""
    left = trial.random.randrange(20)
    with mounted(trial.folder, "tmpfs") as disk:
        _go_on_with(trial, disk, lambda: disk.fill_inodes(left), disk.make_room)


@kind("read-only")
def break_disk(trial: Trial) -> None:
    """The disk becomes read-only, as ext4 does after an error."""
    with mounted(trial.folder, "ext4") as disk:
        _go_on_with(trial, disk, disk.break_down, disk.repair)


@kind("power-cut-ext4")
def cut_power_of_ext4(trial: Trial) -> None:
    """The power is cut before a step of a run, and once more when the next run has completed."""
    _cut_power(trial, "ext4")


@kind("power-cut-xfs")
def cut_power_of_xfs(trial: Trial) -> None:
    """The same on another file system."""
    _cut_power(trial, "xfs")


@kind("power-cut-fetch")
def cut_power_after_fetch(trial: Trial) -> None:
    """The power is cut before a step of a fetch, and once more when the next one has completed."""
    with mounted(trial.folder, trial.random.choice(("ext4", "xfs"))) as disk:
        home = trial.folder_home(disk.folder)
        disk.sync()
        run = _fetch(trial, home, Kill(trial.random.randrange(1, 19), by=signal.SIGSTOP))
        _lose_power(disk, run)
        trial.require_old_or_new(home)
        assert _fetch(trial, home, None).end() == 0
        _require_kept(trial, disk, home)


def _go_on_with(trial: Trial, disk: Disk, damage: Callable[[], object], mend: Callable[[], object]) -> None:
    """Damage a disk before a random step of a run: the run ends well, or with an error of the project."""
    home = trial.folder_home(disk.folder / "home")
    disk.sync()
    run = _begin_to_stop(trial, home)
    assert stops(run)
    damage()
    os.kill(run.process, signal.SIGCONT)
    trial.require_end(run, home)
    mend()
    trial.require_old_or_new(home)
    trial.require_recovery(home)


def _cut_power(trial: Trial, file_system: str) -> None:
    with mounted(trial.folder, file_system) as disk:
        home = trial.folder_home(disk.folder / "home")
        disk.sync()
        _lose_power(disk, _begin_to_stop(trial, home))
        trial.require_old_or_new(home)
        trial.require_recovery(home)
        _require_kept(trial, disk, home)


def _lose_power(disk: Disk, run: Run) -> None:
    """Cut the power when a run has stopped itself; nothing of the run is left."""
    assert stops(run)
    disk.cut_power()
    os.kill(run.process, signal.SIGKILL)
    assert run.end() == KILLED
    disk.restart()


def _require_kept(trial: Trial, disk: Disk, home: Home) -> None:
    """Cut the power when a run has completed: the new dataset is there."""
    disk.cut_power()
    disk.restart()
    found = Published.read(home.destination).sha256
    assert trial.world.new.sha256.items() <= found.items(), "a completed run lost its dataset"


def _begin_to_stop(trial: Trial, home: Home) -> Run:
    """Begin a run that stops itself before a random step."""
    at = trial.random.randrange(1, len(trial.world.steps) - 5)
    return trial.begin(home, kill=Kill(at, by=signal.SIGSTOP))


def _fetch(trial: Trial, home: Home, kill: Kill | None) -> Run:
    """Begin to fetch the new dataset into the destination."""
    log = trial.folder / "fetch.log"
    zygote = trial.stack.enter_context(Zygote(trial.folder / "fetch.steps", Start(log)))
    source = str(trial.world.new_home.destination)
    wanted = {"source": source, "destination": str(home.destination)}
    return Run(zygote.begin("fetch", kill, home.destination, **wanted), zygote, log)
