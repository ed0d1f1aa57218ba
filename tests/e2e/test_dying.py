"""Runs, workers and servers that are killed: what is said of the run, and that the next one goes on."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import RUN, SERVER, WORKER, House, eventually, serving

pytestmark = pytest.mark.e2e

GONE = "found none on "


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, subprocess.Popen[str]]]:
    with serving(tmp_path_factory.mktemp("house")) as served:
        yield served


@pytest.fixture(scope="module")
def house(served: tuple[House, subprocess.Popen[str]]) -> House:
    return served[0]


@pytest.fixture(scope="module")
def lasting(house: House) -> str:
    return house.deploy_lasting()


def begin(house: House, lasting: str, folder: Path, **parameters: object) -> str:
    """Start a run that lasts; returns its id once it is at work."""
    run = house.start(lasting, folder=str(folder), **parameters)
    eventually(lambda: (folder / "begun").exists() and house.run(run)["state_type"] == "RUNNING", "run")
    return run


def require_next(house: House, lasting: str, folder: Path) -> None:
    """The pool is of use: another run goes through."""
    folder.mkdir()
    (folder / "end").touch()
    assert house.ended(house.start(lasting, folder=str(folder)))["type"] == "COMPLETED"


def called_states(house: House) -> set[str]:
    found = house.ask("POST", "flow_runs/filter", {"flows": {"name": {"any_": ["called"]}}})
    return {run["state_type"] for run in found}


@pytest.mark.parametrize("killed", [(RUN,), (WORKER,), (RUN, WORKER), (WORKER, RUN)], ids=str)
def test_a_run_whose_process_or_worker_is_killed_is_crashed_with_the_runs_it_called(
    house: House, lasting: str, tmp_path: Path, killed: tuple[str, ...]
) -> None:
    run = begin(house, lasting, tmp_path, calls=True)
    numbers = [house.process(part) for part in killed]
    engine = house.process(RUN)
    for number in numbers:
        os.kill(number, signal.SIGKILL)
    assert house.ended(run)["type"] == "CRASHED"
    eventually(lambda: called_states(house) == {"CRASHED"}, "end of the called run")
    eventually(lambda: engine not in house.processes(), "end of the run's process")
    require_next(house, lasting, tmp_path / "next")


def test_a_run_whose_host_lost_its_power_before_it_began_is_crashed_by_the_next_worker(
    house: House, lasting: str, tmp_path: Path
) -> None:
    run = house.start(lasting, folder=str(tmp_path))
    eventually(lambda: house.run(run)["state_type"] == "PENDING", "run on its way")
    house.kill(WORKER)
    for number, line in house.processes().items():
        if "_workspace_supervisor" in line or RUN in line:
            os.kill(number, signal.SIGKILL)
    state = house.ended(run)
    assert state["type"] == "CRASHED"
    assert GONE in state["message"]
    require_next(house, lasting, tmp_path / "next")


def test_a_run_goes_on_while_the_server_is_killed_and_started_again(
    house: House, lasting: str, tmp_path: Path
) -> None:
    run = begin(house, lasting, tmp_path)
    before = house.process(SERVER)
    house.kill(SERVER)
    eventually(lambda: house.ask("GET", "health") and house.process(SERVER) != before, "server")
    assert house.run(run)["state_type"] == "RUNNING"
    (tmp_path / "end").touch()
    assert house.ended(run)["type"] == "COMPLETED"


def test_a_run_can_be_cancelled_after_the_server_was_killed(
    house: House, lasting: str, tmp_path: Path
) -> None:
    run = begin(house, lasting, tmp_path)
    before = house.process(SERVER)
    house.kill(SERVER)
    eventually(lambda: house.ask("GET", "health") and house.process(SERVER) != before, "server")
    house.cancel(run)
    # The run's process knows of no cancelling, and says Crashed of itself until the worker corrects it.
    eventually(lambda: house.run(run)["state_type"] == "CANCELLED", "cancelled run")
    require_next(house, lasting, tmp_path / "next")


def test_a_cancelled_run_cleans_up_and_is_cancelled_within_half_a_minute(
    house: House, lasting: str, tmp_path: Path
) -> None:
    run = begin(house, lasting, tmp_path)
    house.cancel(run)
    assert house.ended(run, seconds=30)["type"] == "CANCELLED"
    assert (tmp_path / "cleaned").exists()


def test_the_later_of_two_runs_waits_and_says_for_what(house: House, lasting: str, tmp_path: Path) -> None:
    run = begin(house, lasting, tmp_path)
    later = house.start(lasting, folder=str(tmp_path))
    state = eventually(
        lambda: (found := house.run(later)["state"])["name"] == "Waiting" and found, "run that says it waits"
    )
    name = house.run(run)["name"]
    assert state["type"] == "SCHEDULED"
    assert state["message"] == f"one run at a time: this one begins when '{name}' has ended"
    (tmp_path / "end").touch()
    assert house.ended(run)["type"] == "COMPLETED"
    assert house.ended(later)["type"] == "COMPLETED"
    assert house.run(later)["start_time"] >= house.run(run)["end_time"]


def test_a_run_that_fell_silent_is_crashed_by_the_server_alone(tmp_path: Path) -> None:
    with serving(tmp_path) as (house, serve):
        (silent,) = (one for one in house.ask("POST", "automations/filter", {}) if "heartbeat" in one["name"])
        quick = {key: silent[key] for key in ("name", "trigger", "actions", "enabled")}
        quick["trigger"] = quick["trigger"] | {"within": 10}  # the least there is
        house.ask("PUT", f"automations/{silent['id']}", quick)
        run = begin(house, house.deploy_lasting(), tmp_path)
        serve.kill()  # nobody is left to start anything again
        assert serve.wait() == -signal.SIGKILL
        beats = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
        # Longer than the window: a run that beats is let live.
        eventually(lambda: house.ask("POST", "events/filter", beats)["total"] > 12, "heartbeats")
        assert house.run(run)["state_type"] == "RUNNING"
        numbers = [house.process(WORKER), house.process(RUN)]
        for number in numbers:
            os.kill(number, signal.SIGKILL)
        state = house.ended(run)
        assert state["type"] == "CRASHED"
        assert "expected a heartbeat within" in state["message"]
