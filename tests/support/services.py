"""The services of a host, started with the commands and settings of its units in a test's folders."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deployments.ec2.environment import PORT, STATE, host_environment
from tests.support.served import ROOT, eventually, free_port

_UNITS = ROOT / "deployments" / "ec2" / "units"


@dataclass(frozen=True, slots=True)
class Services:
    """URL and login of the server, and the process ids of server and worker."""

    url: str
    secret: str
    server: int
    worker: int


@contextmanager
def host_services(home: Path, more: Mapping[str, str]) -> Iterator[Services]:
    """Start server and worker, with the deployments; both get SIGTERM at the end of the block.

    Args:
        home: used as /data and as the state folder.
        more: settings that override the host's.
    """
    secret = f"bigearthnet:{secrets.token_urlsafe(24)}"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    host = {
        name: value.replace(str(PORT), str(port)).replace(STATE, str(home))
        for name, value in host_environment().items()
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    known = {"PREFECT_SERVER_API_AUTH_STRING": secret, "PREFECT_API_AUTH_STRING": secret}
    environment = clean | host | known | {"HOME": str(home)} | dict(more)
    with _running("server", environment) as server:
        eventually(lambda: httpx.get(f"{url}/api/health").is_success, "server", 240)
        subprocess.run(_command("deploy"), cwd=ROOT, env=environment, check=True, capture_output=True)
        with _running("worker", environment) as worker:
            yield Services(url, secret, server, worker)


def _command(unit: str) -> list[str]:
    """Return the command of a unit, from the environment of this Python."""
    lines = (_UNITS / f"bigearthnet-{unit}.service").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("ExecStart=")]
    program, *arguments = line.removeprefix("ExecStart=").replace("%H", "host").split()
    return [str(Path(sys.executable).with_name(Path(program).name)), *arguments]


@contextmanager
def _running(unit: str, environment: Mapping[str, str]) -> Iterator[int]:
    with Path(environment["HOME"], f"{unit}.log").open("wb") as log:
        process = subprocess.Popen(_command(unit), cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(90)
