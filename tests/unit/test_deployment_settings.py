"""The settings of server and worker, and the login."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deployments.output import WithoutRoutine
from deployments.settings import ROOT, environment, login

SHOW = """
import json, os
from deployments.settings import apply
apply()
from prefect.settings import get_current_settings
settings = get_current_settings()
print(json.dumps({
    "home": str(settings.home), "logging": str(settings.logging.config_path),
    "startup": settings.server.ephemeral.startup_timeout_seconds, "beat": settings.flows.heartbeat_frequency,
    "server": settings.server.api.auth_string.get_secret_value(),
    "client": os.environ.get("PREFECT_API_AUTH_STRING"),
}))
"""


def applied(folder: Path, **given: str) -> dict[str, object]:
    """What Prefect is set to in a process in another folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        cwd=folder,
        env=clean | {"PREFECT_HOME": str(folder / "home"), **given},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_server_and_worker_agree_on_the_port_and_on_this_host() -> None:
    found = environment(4711, {"PREFECT_API_URL": "http://elsewhere/api", "PATH": "/bin"})
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:4711/api"
    assert (found["PREFECT_SERVER_API_HOST"], found["PREFECT_SERVER_API_PORT"]) == ("127.0.0.1", "4711")
    assert found["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4711,http://localhost:4711"
    assert found["PATH"] == "/bin"


@pytest.mark.parametrize(
    ("given", "home"),
    [
        ({}, ROOT / ".prefect"),
        ({"PREFECT_HOME": "here"}, Path("here")),
        ({"PREFECT_HOME": "~/x"}, Path.home() / "x"),
    ],
    ids=str,
)
def test_the_home_is_one_absolute_folder(given: dict[str, str], home: Path) -> None:
    assert environment(1, given)["PREFECT_HOME"] == str(home.resolve())


def test_heartbeats_fit_their_automation_and_what_a_person_sets_goes_before() -> None:
    name = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
    silent = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())[0]
    assert 3 * int(environment(1, {})[name]) == silent["trigger"]["within"]
    assert environment(1, {name: "60"})[name] == "60"


def test_prefect_has_our_settings_and_the_login_in_any_folder(tmp_path: Path) -> None:
    found = applied(tmp_path)
    own = (tmp_path / "home" / "login").read_text()
    assert found == {
        "home": str(tmp_path / "home"),
        "logging": str(ROOT / "deployments" / "logging.yml"),
        "startup": 300,
        "beat": 30,
        "server": own,
        "client": own,
    }


@pytest.mark.parametrize(
    ("url", "is_ours"), [("http://localhost:4200/api", True), ("https://prefect.example.com/api", False)]
)
def test_the_login_is_sent_to_servers_of_this_machine_only(
    tmp_path: Path, url: str, *, is_ours: bool
) -> None:
    found = applied(tmp_path, PREFECT_API_URL=url)
    assert found["client"] == (found["server"] if is_ours else None)


def test_the_login_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    first = login(tmp_path)
    assert first == login(tmp_path) == (tmp_path / "login").read_text() != login(tmp_path / "other")
    assert [path.name for path in tmp_path.glob("login*")] == ["login"]
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "login").stat().st_mode & 0o777 == 0o600
    user, _, password = first.partition(":")
    assert user == "bigearthnet"
    assert len(password) >= 32


@pytest.mark.parametrize("handler", ["api", "console"])
@pytest.mark.parametrize(
    ("message", "is_logged"),
    [("Finished in state Completed()", False), ("Finished in state Failed('x')", True)],
)
def test_tasks_that_completed_are_not_logged(handler: str, message: str, *, is_logged: bool) -> None:
    settings = yaml.safe_load((ROOT / "deployments" / "logging.yml").read_text())
    (name,) = settings["handlers"][handler]["filters"]
    assert settings["filters"][name]["()"] == f"deployments.output.{WithoutRoutine.__name__}"
    record = logging.LogRecord("prefect.task_runs", logging.INFO, "", 1, message, (), None)
    assert WithoutRoutine().filter(record) is is_logged
