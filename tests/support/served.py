"""`bigearthnet serve`, as a person starts it, and its API through Prefect's client."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect.client.orchestration import SyncPrefectClient

from deployments.processes import descendants

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 120
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
SERVER = "prefect server start"
WORKER = "prefect worker start"
RUN = "-m prefect.engine"
T = TypeVar("T")


def eventually(ask: Callable[[], T | None], what: str, seconds: float = DEADLINE_SECONDS) -> T:
    """What `ask` returns, as soon as it is something; neither server nor processes give an event."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except httpx.HTTPError:
            pass  # not listening, or just killed
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Api:
    """A server's API through Prefect's client."""

    url: str
    login: str

    def ask(self, method: Any, path: Any, question: object = None) -> Any:
        """Ask the API, by a client of its own: an open connection may be that of a killed server."""
        with SyncPrefectClient(f"{self.url}/api", auth_string=self.login) as client:
            answer = client.request(method, path, json=question)
        return answer.json() if answer.content else None

    def deployments(self) -> dict[str, dict[str, Any]]:
        """By their full names, such as prepare/prepare-sample."""
        flows = {flow["id"]: flow["name"] for flow in self.ask("POST", "/flows/filter", {})}
        found = self.ask("POST", "/deployments/filter", {})
        return {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}

    def deploy_test_flow(self, name: str, folder: object = ROOT) -> str:
        """Deploy a flow of `tests.support.flows`, which runs in `folder`; returns the deployment's id."""
        flow = self.ask("POST", "/flows/", {"name": name})
        asked = {
            "flow_id": flow["id"],
            "name": name,
            "entrypoint": f"tests.support.flows.{name}",
            "work_pool_name": "bigearthnet",
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
        }
        return str(self.ask("POST", "/deployments/", asked)["id"])

    def start(self, deployment_id: str, **parameters: Any) -> str:
        """Start a run, as the UI's Run button does; returns its id."""
        asked = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"/deployments/{deployment_id}/create_flow_run", asked)["id"])

    def cancel(self, run_id: str) -> None:
        """Cancel a run, as the UI's Cancel button does."""
        self.ask("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/flow_runs/{run_id}")
        return found

    def ended(self, run_id: str, seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The run's state, once it is final."""

        def final() -> dict[str, Any] | None:
            state: dict[str, Any] = self.run(run_id)["state"]
            return state if state["type"] in FINAL else None

        return eventually(final, f"end of run {run_id}", seconds)

    def logs(self, run_id: str) -> list[str]:
        """What a run has logged."""
        found = self.ask("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})
        return [line["message"] for line in found]


@dataclass(frozen=True, slots=True)
class Served(Api):
    """A server on `port`; `folder` is the person's home folder, and holds Prefect's; `settings` go before."""

    port: int
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        return self.folder / "prefect"

    @property
    def login(self) -> str:
        return (self.home / "login").read_text()

    @property
    def environment(self) -> dict[str, str]:
        """That of a person who has set nothing for Prefect, but faster loops."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return clean | {
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.home),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
            **self.settings,
        }

    def serve(self) -> subprocess.Popen[str]:
        """Start `serve`."""
        return self._command("serve", "--port", str(self.port))

    def deploy(self, *arguments: str, server: str | None = None) -> str:
        """Exit status and output of `bigearthnet deploy`."""
        url = f"{self.url}/api" if server is None else server
        process = self._command("deploy", *arguments, PREFECT_API_URL=url)
        output, _ = process.communicate(timeout=120)
        return f"{process.returncode} {output}"

    def _command(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start a command of `bigearthnet`; what it prints can be read."""
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", *arguments],
            cwd=self.folder,
            env=self.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def automations(self) -> dict[str, dict[str, Any]]:
        """By their names."""
        found = self.ask("POST", "/automations/filter", {})
        assert len({one["name"] for one in found}) == len(found)
        return {one["name"]: one for one in found}

    def processes(self) -> dict[int, str]:
        """Living processes with this home, by id: their command lines."""
        mark = f"PREFECT_HOME={self.home}".encode()
        found = {}
        for pid in descendants(1):
            try:
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    found[pid] = line.replace(b"\0", b" ").decode()
            except OSError:  # gone meanwhile, or another user's
                continue
        return found

    def kill(self, part: str) -> int:
        """Kill the one process whose command line has this text; returns its id."""
        (pid,) = (pid for pid, line in self.processes().items() if part in line)
        os.kill(pid, signal.SIGKILL)
        return pid


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[tuple[Served, subprocess.Popen[str]]]:
    """`serve`, with everything up; it ends with the block, and leaves no process."""
    served = Served(free_port(), folder, settings)
    process = served.serve()
    try:
        wait_until_up(served, process)
        yield served, process
    finally:
        process.terminate()
        process.communicate(timeout=100)
        for pid in served.processes():
            os.kill(pid, signal.SIGKILL)


def wait_until_up(served: Served, process: subprocess.Popen[str]) -> str:
    """Read what `serve` prints until it says how to log in."""
    assert process.stdout is not None
    lines: list[str] = []
    while not any(line.startswith("Log in with ") for line in lines):
        line = process.stdout.readline()
        assert line, f"serve ended: {''.join(lines)}"
        lines.append(line)
    return "".join(lines)
