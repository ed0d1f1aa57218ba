"""`make serve`: one command starts everything, and Ctrl-C ends it."""

import json
import signal
import socket
import sqlite3
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.e2e.test_deployments import DEPLOYMENTS, full_name
from tests.support.house import House, eventually, serving

pytestmark = pytest.mark.e2e

LATER = "2099-01-01T00:00:00Z"
SILENT = "Runs without heartbeat are Crashed"
TELLING = ("Tell of a nightly run that did not begin", "Tell of a nightly run that failed")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with serving(tmp_path_factory.mktemp("house")) as (house, _):
        yield house


def automations(house: House) -> dict[str, dict[str, Any]]:
    found = house.ask("POST", "automations/filter", {})
    assert len({one["name"] for one in found}) == len(found)
    return {one["name"]: one for one in found}


def block(house: House) -> dict[str, Any]:
    asked = {"block_documents": {"name": {"any_": ["nightly-alarm"]}}, "include_secrets": True}
    (found,) = house.ask("POST", "block_documents/filter", asked)
    return dict(found)


def test_pool_deployments_and_worker_are_there(house: House) -> None:
    assert house.ask("GET", "work_pools/bigearthnet")["type"] == "process"
    assert set(house.deployments()) == {full_name(deployment) for deployment in DEPLOYMENTS}
    (worker,) = house.ask("POST", "work_pools/bigearthnet/workers/filter", {})
    assert (worker["name"], worker["status"]) == (socket.gethostname(), "ONLINE")


def test_only_the_nightly_run_is_scheduled(house: House) -> None:
    scheduled = {
        name: [(one["schedule"]["cron"], one["schedule"]["timezone"], one["active"]) for one in found]
        for name, deployment in house.deployments().items()
        if (found := deployment["schedules"])
    }
    assert scheduled == {"sync/nightly": [("0 2 * * *", "UTC", True)]}


def test_the_ui_asks_the_server_on_its_own_port(house: House) -> None:
    answer = urllib3.request("GET", f"{house.url}/ui-settings")
    assert answer.json()["api_url"] == f"{house.url}/api"


def test_pages_of_other_sites_may_not_start_runs(house: House) -> None:
    def allowed(origin: str) -> str | None:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        return urllib3.request("OPTIONS", f"{house.url}/api/flows/", headers=asked).headers.get(
            "Access-Control-Allow-Origin"
        )

    assert allowed("https://example.com") is None
    assert allowed(f"http://localhost:{house.port}") == f"http://localhost:{house.port}"


def test_the_sample_is_prepared_from_the_ui(house: House) -> None:
    run = house.start(house.deployments()["prepare/sample"]["id"])
    assert house.ended(run)["type"] == "COMPLETED"
    folder = house.home / "bigearthnet" / "sample" / "dataset"
    card = json.loads((folder / "dataset.json").read_text())
    with zipfile.ZipFile(folder / "bigearthnet_pngs.zip") as images:
        assert len(images.namelist()) == card["counts"]["patches"] > 0


def test_what_the_package_logs_at_info_reaches_the_ui(house: House, tmp_path: Path) -> None:
    (tmp_path / "end").touch()
    run = house.start(house.deploy_lasting(), folder=str(tmp_path))
    assert house.ended(run)["type"] == "COMPLETED"
    eventually(lambda: "lasting begins" in house.logs(run), "log line of the package", 20)


def test_who_deploys_again_finds_what_a_person_has_changed(house: House) -> None:
    before = automations(house)
    assert {name: one["enabled"] for name, one in before.items()} == {
        SILENT: True,
        **dict.fromkeys(TELLING, False),
    }
    nightly = house.deployments()["sync/nightly"]
    schedule = nightly["schedules"][0]["id"]
    house.ask("PATCH", f"deployments/{nightly['id']}/schedules/{schedule}", {"active": False})
    house.ask("PATCH", f"automations/{before[TELLING[0]]['id']}", {"enabled": True})
    house.ask("PATCH", f"automations/{before[SILENT]['id']}", {"enabled": False})
    filled = block(house)["data"] | {"url": "http://127.0.0.1:9/filled-in"}
    house.ask(
        "PATCH", f"block_documents/{block(house)['id']}", {"data": filled, "merge_existing_data": False}
    )
    deployed = {name: one["id"] for name, one in house.deployments().items()}
    told = automations(house)

    assert house.module("deployments.deploy") == "0 "

    assert {name: one["id"] for name, one in house.deployments().items()} == deployed
    assert [one["active"] for one in house.deployments()["sync/nightly"]["schedules"]] == [False]
    assert automations(house) == told
    assert block(house)["data"] == filled

    # An automation of an earlier edition is renewed, and stays switched off.
    old = {key: told[SILENT][key] for key in ("name", "trigger", "actions", "enabled")}
    old["trigger"] = old["trigger"] | {"within": 600}
    house.ask("PUT", f"automations/{told[SILENT]['id']}", old)
    assert house.module("deployments.deploy") == "0 "
    renewed = automations(house)[SILENT]
    assert (renewed["trigger"]["within"], renewed["enabled"]) == (90, False)


def test_a_nightly_run_that_failed_is_told_of_once_a_person_wants_it(house: House) -> None:
    told: list[dict[str, Any]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as webhook:
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        filled = block(house)["data"] | {"url": f"http://127.0.0.1:{webhook.server_port}/"}
        house.ask("PATCH", f"block_documents/{block(house)['id']}", {"data": filled})
        house.ask("PATCH", f"automations/{automations(house)[TELLING[1]]['id']}", {"enabled": True})
        deployments = house.deployments()
        for name in ("prepare/dataset", "sync/nightly"):
            asked = {"name": name, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": LATER}}}
            run = house.ask("POST", f"deployments/{deployments[name]['id']}/create_flow_run", asked)
            failed = {
                "state": {"type": "FAILED", "name": "Failed", "message": "no such record"},
                "force": True,
            }
            house.ask("POST", f"flow_runs/{run['id']}/set_state", failed)
        eventually(lambda: told, "message", 60)
        webhook.shutdown()
    (text,) = (one["text"] for one in told)
    assert text.startswith("sync/nightly is Failed\nno such record\n")
    assert f"{house.url}/" in text


def test_a_second_one_says_that_the_port_is_taken(house: House) -> None:
    second = house.serve()
    told, _ = second.communicate(timeout=30)
    assert second.returncode == 1
    assert f"expected port {house.port} of 127.0.0.1 to be free, found: Address already in use; stop" in told


def test_a_second_worker_or_reaper_leaves_the_first_its_run(house: House) -> None:
    lock = house.home / "prefect" / "worker.lock"
    for module in ("deployments.worker", "deployments.reaper"):
        told = house.module(module)
        assert told == f"1 expected no other worker to hold {lock}, found one at work; stop it first\n"


def test_ctrl_c_ends_everything_and_the_run_says_so(tmp_path: Path) -> None:
    with serving(tmp_path) as (house, process):
        run = house.start(house.deploy_lasting(), folder=str(tmp_path))
        eventually((tmp_path / "begun").exists, "run that lasts")
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=100)
        assert process.returncode == 0, told
        assert house.processes() == {}
    assert (tmp_path / "cleaned").exists(), "the run was not let clean up"
    with sqlite3.connect(tmp_path / "prefect" / "prefect.db") as database:
        states = database.execute("select state_type from flow_run where id = ?", [run]).fetchall()
    assert states == [("CRASHED",)]
    assert {path.name for path in (tmp_path / "prefect").glob("*.log")} == {
        "server.log",
        "deploy.log",
        "worker.log",
    }


def test_without_a_server_the_parts_say_what_to_do(tmp_path: Path) -> None:
    nowhere = House(0, tmp_path)
    for module in ("deployments.deploy", "deployments.reaper", "deployments.worker"):
        told = nowhere.module(module, server="")
        assert told.startswith("1 expected the address of a Prefect server in PREFECT_API_URL, found none; ")
