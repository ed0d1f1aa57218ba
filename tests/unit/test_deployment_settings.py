"""The settings of server and worker, and the login."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.request import proxy_bypass

import pytest
import yaml

from bigearthnet.errors import StoreError
from deployments.settings import ROOT, apply, environment, login

SHOW = """
import json, os
from deployments.settings import apply
apply()
from prefect.settings import get_current_settings
settings = get_current_settings()
print(json.dumps([
    str(settings.home), str(settings.logging.config_path), settings.server.ephemeral.startup_timeout_seconds,
    settings.server.api.auth_string.get_secret_value(), os.environ.get("PREFECT_API_AUTH_STRING"),
]))
"""


def test_server_and_worker_agree_on_the_port_and_on_this_host() -> None:
    found = environment(4711, {"PREFECT_API_URL": "http://elsewhere/api", "PATH": "/bin"})
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:4711/api"
    assert (found["PREFECT_SERVER_API_HOST"], found["PREFECT_SERVER_API_PORT"]) == ("127.0.0.1", "4711")
    assert found["PATH"] == "/bin"


@pytest.mark.parametrize(
    ("given", "home"),
    [(None, ROOT / ".prefect"), ("here", Path("here")), ("~/x", Path.home() / "x")],
    ids=str,
)
def test_the_home_is_one_absolute_folder(given: str | None, home: Path) -> None:
    found = environment(1, {"PREFECT_HOME": given} if given else {})
    assert found["PREFECT_HOME"] == str(home.resolve())


def test_heartbeats_fit_their_automation_and_what_a_person_sets_goes_before() -> None:
    name = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
    silent = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())[0]
    assert 3 * int(environment(1, {})[name]) == silent["trigger"]["within"]
    assert environment(1, {name: "60"})[name] == "60"


def test_a_run_that_hangs_while_it_is_cancelled_is_cancelled_within_three_minutes() -> None:
    name = "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS"
    assert int(environment(1, {})[name]) < 150


def test_no_setting_makes_an_archive_be_read_on_behind_a_failure() -> None:
    program = "from tasks.convert import extract; print(extract.retries)"
    variables = os.environ | {"PREFECT_TASKS_DEFAULT_RETRIES": "3"}
    shown = subprocess.run(
        [sys.executable, "-c", program], env=variables, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "0\n"


@pytest.mark.parametrize(
    ("url", "is_local"),
    [("", True), ("http://localhost:4200/api", True), ("https://prefect.example.com/api", False)],
)
def test_prefect_is_set_in_any_folder_and_the_login_goes_to_this_machine_only(
    tmp_path: Path, url: str, *, is_local: bool
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    given = {"PREFECT_HOME": str(tmp_path / "home")} | ({"PREFECT_API_URL": url} if url else {})
    command = [sys.executable, "-c", SHOW]
    shown = subprocess.run(
        command, cwd=tmp_path, env=clean | given, stdout=subprocess.PIPE, check=True
    ).stdout
    own = (tmp_path / "home" / "login").read_text()
    config = str(ROOT / "deployments" / "logging.yml")
    assert json.loads(shown) == [given["PREFECT_HOME"], config, 300, own, own if is_local else None]


@pytest.mark.parametrize(
    "hosts",
    [{}, {"NO_PROXY": "a.org, b.org"}, {"no_proxy": "a.org", "NO_PROXY": "b.org"}, {"NO_PROXY": "*"}],
    ids=str,
)
def test_no_proxy_is_asked_for_the_server_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: dict[str, str]
) -> None:
    given = {"PREFECT_HOME": str(tmp_path), "HTTP_PROXY": "http://proxy.invalid:3128"} | hosts
    monkeypatch.setattr(os, "environ", given.copy())
    before = {host for host in ("a.org", "b.org", "c.org") if proxy_bypass(host)}
    for _ in range(2):  # a run inherits the variables of its worker
        apply()
    assert proxy_bypass("127.0.0.1:4200")
    assert proxy_bypass("localhost:4200")
    assert {host for host in ("a.org", "b.org", "c.org") if proxy_bypass(host)} == before


def test_the_login_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    first = login(tmp_path)
    assert first == login(tmp_path) == (tmp_path / "login").read_text() != login(tmp_path / "other")
    assert [path.name for path in tmp_path.glob("login*")] == ["login"]
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "login").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match=r"cannot use PREFECT_HOME .*/login/x: a part of the path is a file"):
        login(tmp_path / "login" / "x")
    user, _, password = first.partition(":")
    assert user == "bigearthnet"
    assert len(password) >= 32
    (tmp_path / "login").write_text(f"{first}\n")
    assert login(tmp_path) == first, "an editor may end the line"


def test_an_empty_login_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "login").touch()  # as a power cut can leave it
    assert len(login(tmp_path)) > 32
