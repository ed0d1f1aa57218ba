"""The services of a host, started with the commands and settings of its units in a test's folders."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from deployments.settings import PORT, login
from tests.support.served import ROOT, Served, eventually, free_port

_UNITS = ROOT / "deployments" / "ec2" / "units"


def host_environment(unit: str) -> dict[str, str]:
    """The settings of a unit on a host, as systemd reads them from the unit and two files."""
    lines = (ROOT / "deployments" / "ec2" / "settings.env").read_text().splitlines()
    own = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return unit_environment(unit) | environment_file() | own


def environment_file() -> dict[str, str]:
    """The settings that provision.sh writes to /etc/bigearthnet/environment."""
    command = [sys.executable, "-m", "deployments.settings"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    lines = (line.split("=", 1) for line in output.splitlines())
    return {name: value.removeprefix('"').removesuffix('"') for name, value in lines}


def unit_environment(unit: str) -> dict[str, str]:
    """The variables that a unit sets by itself."""
    return dict(value.split("=", 1) for value in unit_values(unit, "Environment"))


def unit_values(unit: str, name: str) -> list[str]:
    """The values of the lines `name=...` of a unit."""
    lines = (_UNITS / f"bigearthnet-{unit}.service").read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


@contextmanager
def host_services(home: Path, **settings: str) -> Iterator[Served]:
    """Start server and worker, with the deployments; both get SIGTERM at the end of the block.

    `home` is used as /data and as /var/lib; `settings` go before those of the host.
    """
    served = Served(free_port(), home)
    secret = login(served.home)
    known = {
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_API_AUTH_STRING": secret,
        "BIGEARTHNET_ROOTS": str(home),
    }

    def of(unit: str) -> dict[str, str]:
        host = {
            name: value.replace(str(PORT), str(served.port)).replace("/var/lib", str(home))
            for name, value in host_environment(unit).items()
        }
        return served.environment | host | known | settings

    for unit in ("server", "worker"):  # as systemd does
        (home / unit_values(unit, "StateDirectory")[0]).mkdir(mode=0o700)
    with _running("server", of("server")):
        eventually(lambda: httpx.get(f"{served.url}/api/health").is_success, "server", 240)
        subprocess.run(_command("deploy"), cwd=ROOT, env=of("deploy"), check=True, capture_output=True)
        with _running("worker", of("worker")):
            yield served


def _command(unit: str) -> list[str]:
    """Return the command of a unit, from the environment of this Python."""
    (command,) = unit_values(unit, "ExecStart")
    program, *arguments = command.replace("%H", "host").split()
    return [str(Path(sys.executable).with_name(Path(program).name)), *arguments]


@contextmanager
def _running(unit: str, environment: Mapping[str, str]) -> Iterator[None]:
    with Path(environment["HOME"], f"{unit}.log").open("wb") as log:
        process = subprocess.Popen(_command(unit), cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(90)
