"""`python -m deployments.serve`, as a person starts it, and the Prefect API asked over plain HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import urllib3

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 120
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
T = TypeVar("T")
_BUSY = urllib3.Retry(
    total=8, connect=0, read=0, status_forcelist=[503], allowed_methods=None, backoff_factor=0.1
)
"""A busy server says so (503), as it does to Prefect's own clients; one that is gone is not waited for."""


def eventually(ask: Callable[[], T | None], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """What `ask` answers as soon as it is something; neither server nor processes give an event."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except urllib3.exceptions.HTTPError:
            pass  # not listening, or just dead
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class House:
    """Where a server answers, and which environment its parts live in."""

    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of a person who has told Prefect nothing; `~` is a folder of the test's."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return clean | {
            "HOME": str(self.home),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
        }

    def serve(self, port: int | None = None) -> subprocess.Popen[str]:
        """Start `serve`; what it prints can be read."""
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.serve", "--port", str(port or self.port)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def module(self, name: str, server: str | None = None) -> str:
        """Exit status and output of a module of ours that does its work against the server."""
        done = subprocess.run(
            [sys.executable, "-m", name],
            cwd=ROOT,
            env=self.environment | {"PREFECT_API_URL": f"{self.url}/api" if server is None else server},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"

    def ask(self, method: str, path: str, question: object = None) -> Any:
        """Ask the API."""
        answer = urllib3.request(
            method,
            f"{self.url}/api/{path}",
            json=question,
            headers={"Connection": "close"},  # one kept open may be that of a server that was killed
            retries=_BUSY,
            timeout=30,
        )
        assert answer.status < 300, (method, path, answer.status, answer.data)
        return answer.json() if answer.data else None

    def deployments(self) -> dict[str, dict[str, Any]]:
        """By their full names, such as prepare/sample."""
        flows = {flow["id"]: flow["name"] for flow in self.ask("POST", "flows/filter", {})}
        found = self.ask("POST", "deployments/filter", {})
        return {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}

    def deploy_lasting(self) -> str:
        """Deploy the flow of `tests.support.lasting`; returns the deployment's id."""
        flow = self.ask("POST", "flows/", {"name": "lasting"})
        asked = {
            "flow_id": flow["id"],
            "name": "lasting",
            "entrypoint": "tests.support.lasting.lasting",
            "work_pool_name": "bigearthnet",
            "tags": ["bigearthnet"],
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        }
        made = self.ask("POST", "deployments/", asked)
        return str(made["id"])

    def start(self, deployment_id: str, **parameters: Any) -> str:
        """Start a run, as the UI's Run button does; returns its id."""
        asked = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        run = self.ask("POST", f"deployments/{deployment_id}/create_flow_run", asked)
        return str(run["id"])

    def cancel(self, run_id: str) -> None:
        """Cancel a run, as the UI's Cancel button does."""
        self.ask("POST", f"flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"flow_runs/{run_id}")
        return found

    def ended(self, run_id: str, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The run's state once it is final."""

        def final() -> dict[str, Any] | None:
            state: dict[str, Any] = self.run(run_id)["state"]
            return state if state["type"] in FINAL else None

        return eventually(final, f"end of run {run_id}", seconds)

    def logs(self, run_id: str) -> list[str]:
        """What a run has logged."""
        found = self.ask("POST", "logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
        return [line["message"] for line in found]

    def processes(self) -> dict[int, str]:
        """Living processes of this house, by number: their command lines."""
        mark = f"PREFECT_HOME={self.home / 'prefect'}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # gone meanwhile, or another user's
                continue
        return found

    def process(self, part: str) -> int:
        """Number of the one process whose command line has `part`."""
        found = [number for number, line in self.processes().items() if part in line]
        assert len(found) == 1, (part, self.processes())
        return found[0]

    def kill(self, part: str) -> None:
        os.kill(self.process(part), signal.SIGKILL)


SERVER = "prefect server start"
WORKER = "-m deployments.worker"
RUN = "-m prefect.engine"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[House, subprocess.Popen[str]]]:
    """`serve`, with everything up; it ends with the block, and leaves no process."""
    house = House(free_port(), folder)
    process = house.serve()
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while not any(house.url in line for line in lines):
            line = process.stdout.readline()
            assert line, f"serve ended: {''.join(lines)}"
            lines.append(line)
        yield house, process
    finally:
        process.terminate()
        process.wait(100)
        process.stdout.close()
        for number in house.processes():
            os.kill(number, signal.SIGKILL)
