"""The Prefect server boots from what is installed, takes a deployment, and schedules runs of it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import urllib3

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
DEADLINE_SECONDS = 120
T = TypeVar("T")

DEPLOY = """
from datetime import timedelta
from flows.prepare import prepare
prepare.to_deployment("scheduled", interval=timedelta(minutes=5), work_pool_name="boot").apply()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """URL of the API of a server of its own, with an empty database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait(timeout=60)


def eventually(ask: Callable[[], T | None], what: str) -> T:
    """What `ask` answers as soon as it is something; a server gives no event to wait for."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except urllib3.exceptions.HTTPError:
            pass  # not listening yet
        time.sleep(0.5)
    raise AssertionError(f"no {what} within {DEADLINE_SECONDS} s")


def test_a_scheduled_run_of_a_deployment_appears(server: str, tmp_path: Path) -> None:
    http = urllib3.PoolManager(retries=False)
    eventually(lambda: http.request("GET", f"{server}/health").status == 200, "healthy server")
    made = http.request("POST", f"{server}/work_pools/", json={"name": "boot", "type": "process"})
    assert made.status == 201, made.data
    environment = {**os.environ, "PREFECT_API_URL": server, "PREFECT_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", DEPLOY], cwd=REPOSITORY, env=environment, check=True)

    def scheduled() -> list[dict[str, str]]:
        asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        answer = http.request("POST", f"{server}/flow_runs/filter", json=asked)
        found: list[dict[str, str]] = answer.json()
        return found

    runs = eventually(scheduled, "scheduled run")
    assert {run["state_type"] for run in runs} == {"SCHEDULED"}
