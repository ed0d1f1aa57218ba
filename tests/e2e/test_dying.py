"""Runs, workers, servers and whole machines that are killed: the run's state, and the next run."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served import RUN, SERVER, WORKER, Served, eventually, serving, wait_until_up

pytestmark = pytest.mark.e2e

SILENT = "Mark runs without heartbeats as Crashed"
WINDOW_SECONDS = 10
"""The least that Prefect allows; heartbeats come every 30 s, here 1 s."""
REAL_WINDOW_SECONDS = 90
"""That of automations.yaml, in which a server is up again."""
TIMEOUT = {"PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "35"}
"""90 s in pyproject.toml; more than the half minute in which a run that has begun is cancelled."""


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, subprocess.Popen[str]]]:
    """What is served, and the process that serves it."""
    with serving(tmp_path_factory.mktemp("served"), **TIMEOUT) as (served, process):
        set_window(served, WINDOW_SECONDS)
        yield served, process


@pytest.fixture(scope="module")
def served(serve: tuple[Served, subprocess.Popen[str]]) -> Served:
    return serve[0]


@pytest.fixture(scope="module")
def lasting(served: Served) -> str:
    return served.deploy_test_flow("lasting")


def set_window(served: Served, seconds: int) -> None:
    """After so long without heartbeats, a run is Crashed."""
    silent = served.automations()[SILENT]
    changed = {key: silent[key] for key in ("name", "trigger", "actions", "enabled")}
    changed["trigger"] |= {"within": seconds}
    served.ask("PUT", f"/automations/{silent['id']}", changed)


def begin(served: Served, lasting: str, folder: Path, **parameters: object) -> str:
    """Start a run that lasts; returns its id once it is at work."""
    run = served.start(lasting, folder=str(folder), **parameters)
    eventually(lambda: (folder / "begun").exists() and served.run(run)["state_type"] == "RUNNING", "run")
    return run


def require_next(served: Served, lasting: str, folder: Path) -> None:
    """Another run goes through."""
    folder.mkdir()
    (folder / "end").touch()
    assert served.ended(served.start(lasting, folder=str(folder)))["type"] == "COMPLETED"


def called_states(served: Served) -> set[str]:
    asked = {"flows": {"name": {"any_": ["called"]}}}
    return {run["state_type"] for run in served.ask("POST", "/flow_runs/filter", asked)}


def beats(served: Served, run: str) -> int:
    """How many heartbeats of a run the server has received."""
    run_id = f"prefect.flow-run.{run}"
    only = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [run_id]}}
    return int(served.ask("POST", "/events/filter", {"filter": only})["total"])


@pytest.mark.parametrize("killed", [RUN, WORKER])
def test_a_run_whose_process_or_worker_is_killed_is_crashed_with_the_run_that_it_called(
    served: Served, lasting: str, tmp_path: Path, killed: str
) -> None:
    run = begin(served, lasting, tmp_path, calls=True)
    (engine,) = (pid for pid, line in served.processes().items() if RUN in line)
    served.kill(killed)
    assert served.ended(run)["type"] == "CRASHED"
    eventually(lambda: called_states(served) == {"CRASHED"}, "end of the called run")
    eventually(lambda: engine not in served.processes(), "end of the run's process")
    require_next(served, lasting, tmp_path / "next")


def test_a_cancelled_run_cleans_up_and_is_cancelled_within_half_a_minute(
    served: Served, lasting: str, tmp_path: Path
) -> None:
    run = begin(served, lasting, tmp_path)
    served.cancel(run)
    assert served.ended(run, seconds=30)["type"] == "CANCELLED"
    assert (tmp_path / "cleaned").exists()


def test_a_run_that_is_cancelled_before_it_begins_is_cancelled_within_three_minutes(
    served: Served, lasting: str, tmp_path: Path
) -> None:
    run = served.start(lasting, folder=str(tmp_path))
    eventually(lambda: served.run(run)["state_name"] in {"Pending", "Submitting"}, "start of the process")
    served.cancel(run)
    assert served.ended(run, seconds=180)["type"] == "CANCELLED"
    assert not (tmp_path / "begun").exists()


def test_one_run_at_a_time(served: Served, lasting: str, tmp_path: Path) -> None:
    first = begin(served, lasting, tmp_path)
    second = served.start(lasting, folder=str(tmp_path))
    eventually(lambda: beats(served, first) > WINDOW_SECONDS + 2, "heartbeats for longer than the window")
    assert served.run(first)["state_type"] == "RUNNING"
    assert served.run(second)["state_type"] == "SCHEDULED"
    (tmp_path / "end").touch()
    assert served.ended(first)["type"] == "COMPLETED"
    assert served.ended(second)["type"] == "COMPLETED"
    assert served.run(second)["start_time"] >= served.run(first)["end_time"]


def test_a_run_outlives_a_killed_server(served: Served, lasting: str, tmp_path: Path) -> None:
    set_window(served, REAL_WINDOW_SECONDS)
    run = begin(served, lasting, tmp_path)
    killed = served.kill(SERVER)

    def answers() -> bool:
        new = [pid for pid, line in served.processes().items() if SERVER in line and pid != killed]
        return bool(new) and served.ask("GET", "/health") is True

    eventually(answers, "new server")
    assert served.run(run)["state_type"] == "RUNNING"
    (tmp_path / "end").touch()
    assert served.ended(run)["type"] == "COMPLETED"
    set_window(served, WINDOW_SECONDS)


def test_after_a_power_cut_the_run_is_crashed_and_the_next_one_goes_through(
    serve: tuple[Served, subprocess.Popen[str]], lasting: str, tmp_path: Path
) -> None:
    served, process = serve
    run = begin(served, lasting, tmp_path)
    process.kill()
    for pid in served.processes():
        os.kill(pid, signal.SIGKILL)
    process.wait()
    eventually(lambda: not served.processes(), "end of everything")
    again = served.serve()
    try:
        wait_until_up(served, again)
        state = served.ended(run)
        assert state["type"] == "CRASHED"
        assert "No heartbeat" in state["message"]
        require_next(served, lasting, tmp_path / "next")
        require_end_if_serve_is_killed(served, again, lasting, tmp_path / "last")
    finally:
        again.terminate()
        again.communicate(timeout=100)


def require_end_if_serve_is_killed(
    served: Served, process: subprocess.Popen[str], lasting: str, folder: Path
) -> None:
    """Server and worker end by themselves, the worker after its run."""
    folder.mkdir()
    begin(served, lasting, folder)
    process.kill()
    eventually(lambda: not any(SERVER in line for line in served.processes().values()), "end of the server")
    (folder / "end").touch()
    eventually(lambda: not served.processes(), "end of everything")
    assert process.wait() == -signal.SIGKILL
