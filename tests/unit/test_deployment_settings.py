"""The environment of server and worker."""

from pathlib import Path

from deployments.settings import environment


def test_server_and_worker_agree_on_the_port_and_on_this_host() -> None:
    found = environment(4711, {"PREFECT_API_URL": "http://elsewhere/api", "PATH": "/bin"})
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:4711/api"
    assert (found["PREFECT_SERVER_API_HOST"], found["PREFECT_SERVER_API_PORT"]) == ("127.0.0.1", "4711")
    assert found["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4711,http://localhost:4711"
    assert found["PATH"] == "/bin"


def test_what_a_person_has_set_goes_before_our_defaults() -> None:
    assert environment(1, {})["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    given = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60"}
    assert environment(1, given)["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "60"


def test_the_home_is_the_same_folder_wherever_a_part_starts(tmp_path: Path) -> None:
    assert environment(1, {"PREFECT_HOME": ".prefect"})["PREFECT_HOME"] == str(Path.cwd() / ".prefect")
    assert environment(1, {"PREFECT_HOME": str(tmp_path)})["PREFECT_HOME"] == str(tmp_path.resolve())
    assert environment(1, {})["PREFECT_HOME"] == str(Path(__file__).resolve().parents[2] / ".prefect")
