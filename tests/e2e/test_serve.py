"""`make serve`: one command starts everything, Ctrl-C ends it, and only its owner can use it."""

import json
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.served import Served, eventually, free_port, serving
from tests.unit.test_deployments import DEPLOYMENTS, full_name

pytestmark = pytest.mark.e2e

NIGHTLY, SHARE, SAMPLE = "sync/nightly-sync", "share/share-links", "prepare/prepare-sample"
SILENT, STUCK = "Mark runs without heartbeats as Crashed", "Mark runs that do not start as Crashed"
FAILED, MISSED = "Report a nightly run that failed", "Report a nightly run that did not start"
ENABLED = {SILENT: True, STUCK: True, FAILED: False, MISSED: False}
LATER = "2099-01-01T00:00:00Z"
PERSONAL = {
    "description": "Links for our students.",
    "parameters": {"expires_minutes": 5},
    "tags": ["students"],
    "concurrency_limit": 1,
    "concurrency_options": {"collision_strategy": "CANCEL_NEW", "grace_period_seconds": 60},
    "job_variables": {"stream_output": False},
}
"""What a person can set on a deployment's page, beside schedules."""


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, subprocess.Popen[str]]]:
    """What is served, and the process that serves it."""
    with serving(tmp_path_factory.mktemp("served")) as (served, process):
        yield served, process


@pytest.fixture(scope="module")
def served(serve: tuple[Served, subprocess.Popen[str]]) -> Served:
    return serve[0]


def block(served: Served) -> dict[str, Any]:
    asked = {"block_documents": {"name": {"any_": ["nightly-alarm"]}}, "include_secrets": True}
    (found,) = served.ask("POST", "/block_documents/filter", asked)
    return dict(found)


def timing(deployment: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Cron line, time zone, and whether it is active, of each schedule."""
    return sorted(
        (one["schedule"]["cron"], one["schedule"]["timezone"], one["active"])
        for one in deployment["schedules"]
    )


def value(deployments: dict[str, dict[str, Any]], key: str) -> object:
    """What a key of PERSONAL is set to."""
    if key == "concurrency_limit":
        return (deployments[SHARE]["global_concurrency_limit"] or {}).get("limit")
    return deployments[SHARE][key]


def test_pool_deployments_worker_and_one_schedule_are_there(served: Served) -> None:
    deployments = served.deployments()
    assert set(deployments) == {full_name(deployment) for deployment in DEPLOYMENTS}
    workers = "/work_pools/bigearthnet/workers/filter"
    (worker,) = eventually(lambda: served.ask("POST", workers, {}), "worker")
    assert (worker["name"], worker["status"]) == (socket.gethostname(), "ONLINE")
    schedules = {name: found for name, one in deployments.items() if (found := timing(one))}
    assert schedules == {NIGHTLY: [("0 2 * * *", "UTC", True)]}
    asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = eventually(lambda: served.ask("POST", "/flow_runs/filter", asked), "scheduled run")
    assert {run["expected_start_time"][11:19] for run in runs} == {"02:00:00"}


def test_runs_log_to_the_ui_and_the_sample_is_prepared(served: Served, tmp_path: Path) -> None:
    (tmp_path / "end").touch()
    run = served.start(served.deploy_test_flow("lasting"), folder=str(tmp_path))
    assert served.ended(run)["type"] == "COMPLETED"
    eventually(lambda: "lasting begins" in served.logs(run), "log line of the package", 20)
    run = served.start(served.deployments()[SAMPLE]["id"])
    assert served.ended(run)["type"] == "COMPLETED"
    assert (served.folder / "bigearthnet" / "sample" / "dataset" / "dataset.json").exists()
    eventually(lambda: served.logs(run), "log lines of the sample")
    routine = "Finished in state Completed()"
    assert not [line for line in served.logs(run) if routine in line]
    assert routine not in (served.home / "worker.log").read_text()


@pytest.mark.parametrize(
    ("login", "with_token", "status"),
    [(None, False, 403), (None, True, 401), ("own", False, 403), ("guess", True, 401)],
)
# A page of another site can send these without asking first, and any user of this machine can.
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain", "Origin": "https://example.com"},
        {"Content-Type": "application/json", "Host": "example.com"},
    ],
    ids=str,
)
def test_who_lacks_login_or_token_starts_no_run(
    served: Served, *, headers: dict[str, str], login: str | None, with_token: bool, status: int
) -> None:
    user, _, password = served.login.partition(":")
    before = served.ask("POST", "/flow_runs/count", {})
    if with_token:
        asked = httpx.get(f"{served.url}/api/csrf-token?client=test", auth=(user, password)).json()
        headers = {**headers, "Prefect-Csrf-Token": asked["token"], "Prefect-Csrf-Client": "test"}
    answer = httpx.post(
        f"{served.url}/api/deployments/{served.deployments()[SAMPLE]['id']}/create_flow_run",
        content="{}",
        headers=headers,
        auth={None: None, "own": (user, password), "guess": (user, "guess")}[login],
    )
    assert answer.status_code == status
    assert served.ask("POST", "/flow_runs/count", {}) == before


def test_nobody_reads_without_login(served: Served) -> None:
    for path in ("admin/version", "csrf-token?client=test", "ui/schemas"):
        assert httpx.get(f"{served.url}/api/{path}").status_code == 401


def test_a_page_of_another_site_may_not_ask(served: Served) -> None:
    for origin, allowed in (("https://example.com", None), (served.url, served.url)):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = httpx.options(f"{served.url}/api/flows/", headers=asked)
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize("variables", [{"command": "id"}, {"env": {"A": "b"}}, {"working_dir": "/"}], ids=str)
def test_not_even_the_owner_chooses_what_a_run_executes(served: Served, variables: dict[str, Any]) -> None:
    path = f"/deployments/{served.deployments()[SAMPLE]['id']}/create_flow_run"
    with pytest.raises(httpx.HTTPStatusError, match="Additional properties are not allowed"):
        served.ask("POST", path, {"job_variables": variables})


def test_other_users_cannot_read_login_and_database(served: Served) -> None:
    assert served.home.stat().st_mode & 0o777 == 0o700
    for path in (served.home / "login", *served.home.glob("prefect.db*")):
        assert path.stat().st_mode & 0o777 == 0o600, path


@pytest.fixture(scope="module")
def first(served: Served) -> dict[str, dict[str, Any]]:
    """The deployments by their names, as they came."""
    return served.deployments()


def test_another_deploy_keeps_what_a_person_set_and_refreshes_the_rest(
    served: Served, first: dict[str, dict[str, Any]]
) -> None:
    served.ask("PATCH", f"/deployments/{first[SHARE]['id']}", {**PERSONAL, "entrypoint": "flows.gone.gone"})
    path = f"/deployments/{first[NIGHTLY]['id']}/schedules"
    schedule = {"cron": "30 4 * * *", "timezone": "Europe/Lisbon"}
    changed = f"{path}/{first[NIGHTLY]['schedules'][0]['id']}"
    served.ask("PATCH", changed, {"schedule": schedule, "active": False})
    served.ask("POST", path, [{"schedule": {"cron": "0 12 * * 0", "timezone": "UTC"}, "active": True}])
    assert served.deploy().startswith("0 ")
    again = served.deployments()
    assert {key: value(again, key) for key in PERSONAL} == PERSONAL
    assert timing(again[NIGHTLY]) == [("0 12 * * 0", "UTC", True), ("30 4 * * *", "Europe/Lisbon", False)]
    for key in ("id", "entrypoint", "parameter_openapi_schema"):
        assert {name: one[key] for name, one in again.items()} == {
            name: one[key] for name, one in first.items()
        }


def test_automations_and_deleted_schedules_stay_and_reset_goes_back_to_the_files(
    served: Served, first: dict[str, dict[str, Any]]
) -> None:
    before = served.automations()
    assert {name: one["enabled"] for name, one in before.items()} == ENABLED
    served.ask("PATCH", f"/automations/{before[SILENT]['id']}", {"enabled": False})
    served.ask("PATCH", f"/automations/{before[MISSED]['id']}", {"enabled": True})
    for schedule in served.deployments()[NIGHTLY]["schedules"]:
        served.ask("DELETE", f"/deployments/{first[NIGHTLY]['id']}/schedules/{schedule['id']}")
    set_by_person = served.automations()
    assert served.deploy().startswith("0 ")
    assert served.automations() == set_by_person
    assert timing(served.deployments()[NIGHTLY]) == []

    assert served.deploy("--reset").startswith("0 ")
    assert {name: one["enabled"] for name, one in served.automations().items()} == ENABLED
    reset = served.deployments()
    assert timing(reset[NIGHTLY]) == timing(first[NIGHTLY])
    for key, personal in PERSONAL.items():
        assert value(reset, key) == value(first, key) != personal


def test_a_nightly_run_that_failed_is_reported_once_a_person_wants_it(served: Served) -> None:
    told: list[dict[str, Any]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as webhook:
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        filled = block(served)["data"] | {"url": f"http://127.0.0.1:{webhook.server_port}/"}
        served.ask("PATCH", f"/block_documents/{block(served)['id']}", {"data": filled})
        served.ask("PATCH", f"/automations/{served.automations()[FAILED]['id']}", {"enabled": True})
        deployments = served.deployments()
        for name in (SAMPLE, NIGHTLY):
            asked = {"name": name, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": LATER}}}
            run = served.ask("POST", f"/deployments/{deployments[name]['id']}/create_flow_run", asked)
            state = {"type": "FAILED", "name": "Failed", "message": "no such record"}
            served.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        eventually(lambda: told, "message", 60)
        webhook.shutdown()
    (text,) = (one["text"] for one in told)
    assert text.startswith(f"{NIGHTLY} is Failed\nno such record\n")
    assert f"{served.url}/" in text


def test_a_second_one_says_that_home_or_port_is_taken(served: Served, tmp_path: Path) -> None:
    for second, message in (
        (Served(free_port(), served.folder), f"is running already (lock {served.home / 'serve.lock'})"),
        (Served(served.port, tmp_path), f"Port {served.port} is not free."),
    ):
        process = second.serve()
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        assert message in told


def test_ctrl_c_ends_everything_and_the_run_says_so(
    serve: tuple[Served, subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The last test of what is served."""
    served, process = serve
    run = served.start(served.deploy_test_flow("lasting"), folder=str(tmp_path))
    eventually((tmp_path / "begun").exists, "run that lasts")
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert served.processes() == {}
    assert (tmp_path / "cleaned").exists(), "the run could not clean up"
    with sqlite3.connect(served.home / "prefect.db") as database:
        states = database.execute("select state_type from flow_run where id = ?", [run]).fetchall()
    assert states == [("CRASHED",)]


def test_sigterm_ends_everything_while_it_is_starting(tmp_path: Path) -> None:
    served = Served(free_port(), tmp_path)
    process = served.serve()
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Starting the Prefect server")
    eventually(lambda: len(served.processes()) > 2, "server and deployments on their way")
    process.terminate()
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert served.processes() == {}


def test_a_server_that_cannot_start_ends_serve_with_the_end_of_its_log(tmp_path: Path) -> None:
    served = Served(free_port(), tmp_path)
    (served.home / "prefect.db").mkdir(parents=True)
    process = served.serve()
    try:
        told, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 1
    assert "unable to open database file" in told
    assert f"The server ended. Its log is {served.home / 'server.log'}." in told
    assert served.processes() == {}


def test_without_a_server_deploy_says_what_to_do(tmp_path: Path) -> None:
    told = Served(0, tmp_path).deploy(server="")
    assert told.startswith("1 PREFECT_API_URL is not set. ")
