"""What `make serve` runs, disturbed while a run of a deployment is at work."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from campaign.registry import kind
from campaign.trial import Trial
from campaign.world import World
from tests.support.published import Published
from tests.support.runs import Home
from tests.support.served import RUN, SERVER, WORKER, Served, eventually, serving

_DEPLOYMENT: Final = "prepare/prepare-dataset"
_TRUE_SECONDS: Final = 180
_RUN_SECONDS: Final = 12
"""A run takes about as long, from its creation on."""
_SECONDS: Final = 150


@kind("server-killed", seconds=_SECONDS)
def kill_server(trial: Trial) -> None:
    """The server gets SIGKILL; `serve` starts another one, and the run goes on."""
    _disturb(trial, lambda served, _: served.kill(SERVER))


@kind("database-locked", seconds=_SECONDS)
def lock_database(trial: Trial) -> None:
    """Another program locks the database of the server."""

    def lock(served: Served, _: str) -> None:
        with closing(sqlite3.connect(served.home / "prefect.db", timeout=30)) as database:
            database.execute("begin exclusive")
            time.sleep(trial.random.uniform(1, 20))

    _disturb(trial, lock)


@kind("worker-killed", seconds=_SECONDS)
def kill_worker(trial: Trial) -> None:
    """The worker gets SIGKILL when its run has begun; `serve` ends the run, and starts another worker.

    Not covered: a run that has not begun by then is Pending for up to 15 minutes.
    """

    def kill(served: Served, run: str) -> None:
        eventually(lambda: served.run(run)["state_type"] not in {"SCHEDULED", "PENDING"}, "begin of the run")
        served.kill(WORKER)

    _disturb(trial, kill)


@kind("cancelled", seconds=_SECONDS)
def cancel(trial: Trial) -> None:
    """A person cancels the run in the UI.

    Not covered: a run does not learn of it if its server was gone for more than half a minute before.
    """
    _disturb(trial, lambda served, run: served.cancel(run))


def _disturb(trial: Trial, disturb: Callable[[Served, str], object]) -> None:
    """Disturb a run at a random moment: its state is true soon, and the next run goes through."""
    served, home = trial.world.lasting(_serving), trial.folder_home()
    run = _start(trial, served, home)
    time.sleep(trial.random.uniform(0, _RUN_SECONDS))
    disturb(served, run)
    state = served.ended(run, _TRUE_SECONDS)
    _require_no_process(served)
    trial.require_old_or_new(home)
    if state["type"] == "COMPLETED":
        assert Published.read(home.destination) == trial.world.new, "a completed run published nothing"
    again = _start(trial, served, home)
    state = served.ended(again, 600)
    assert state["type"] == "COMPLETED", (state, served.logs(again))
    assert Published.read(home.destination) == trial.world.new
    assert not home.strays()


def _start(trial: Trial, served: Served, home: Home) -> str:
    """Start a run as the UI's Run button does; returns its id."""
    deployment = eventually(lambda: served.deployments()[_DEPLOYMENT]["id"], "deployment")
    wanted = {"source": trial.world.record.record_url, **home.options}
    return served.start(deployment, **wanted)


def _require_no_process(served: Served) -> None:
    eventually(lambda: not any(RUN in line for line in served.processes().values()), "end of the process", 60)


@contextmanager
def _serving(world: World) -> Iterator[Served]:
    """`bigearthnet serve`, for all trials."""
    folder = Path(world.folder / "served")
    folder.mkdir()
    with serving(folder) as (served, _):
        yield served
