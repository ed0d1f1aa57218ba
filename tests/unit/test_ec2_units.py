"""Scripts, units and settings of the host, as shellcheck, systemd and Prefect see them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bigearthnet.source.old.http import PROJECT_URL
from prefect.settings import Settings

from deployments.ec2.environment import STATE, environment_file, host_environment
from tests.support.stack import template

EC2 = Path(__file__).parents[2] / "deployments" / "ec2"
UNITS = sorted((EC2 / "units").glob("*.service"))
SCRIPTS = sorted(EC2.glob("*.sh"))
ALIASES = {"PREFECT_LOGGING_SETTINGS_PATH", "PREFECT_UI_STATIC_DIRECTORY"}
"""Names that Prefect reads and calls otherwise itself."""
PYTHON = "/opt/bigearthnet/.venv/bin/python"


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(tool), reason=f"needs {tool}")


@needs("shellcheck")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_says_nothing(script: Path) -> None:
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_started_and_stop_at_the_first_failure(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text()


@pytest.fixture
def unit_path(tmp_path: Path) -> Path:
    """The units as the host has them, but with a Python that is there."""
    shutil.copytree(EC2 / "units", tmp_path, dirs_exist_ok=True)
    for unit in tmp_path.glob("*.service"):
        unit.write_text(unit.read_text().replace(PYTHON, sys.executable))
    return tmp_path


def analyze(unit_path: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{unit_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@needs("systemd-analyze")
@needs("curl")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_every_line_of_the_units(unit_path: Path, unit: Path) -> None:
    status, output = analyze(unit_path, "verify", "--man=no", str(unit_path / unit.name))
    told = [line for line in output.splitlines() if "bigearthnet" in line or "house.conf" in line]
    assert (status, told) == (0, [])


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_calls_the_exposure_of_the_units_low(unit_path: Path, unit: Path) -> None:
    arguments = ("security", "--no-pager", "--offline=yes", "--threshold=30", str(unit_path / unit.name))
    status, output = analyze(unit_path, *arguments)
    assert status == 0, output  # 0 to 100, of which systemd calls up to 40 ok


def test_what_runs_too_large_is_ended_before_the_server_is() -> None:
    lines = {path.stem: path.read_text().splitlines() for path in UNITS}
    assert "MemoryMax=560M" in lines["bigearthnet-worker"]
    assert "OOMScoreAdjust=500" in lines["bigearthnet-worker"]
    assert "OOMScoreAdjust=-500" in lines["bigearthnet-server"]
    assert "OOMPolicy=continue" in lines["bigearthnet-worker"], "the worker says what became of the run"


def test_prefect_knows_every_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in (host_environment() | {"PREFECT_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    known = settings.to_environment_variables(exclude_unset=True)
    assert {name for name in host_environment() if name.startswith("PREFECT_")} <= known.keys() | ALIASES
    assert settings.server.api.host == "127.0.0.1"
    assert settings.server.api.csrf_protection_enabled
    assert settings.server.api.cors_allowed_origins == "http://127.0.0.1:4200,http://localhost:4200"
    assert settings.server.services.db_vacuum.enabled == {"events", "flow_runs"}
    assert settings.server.services.db_vacuum.retention_period.days == 60
    assert settings.worker.query_seconds == 15
    assert settings.server.ui.static_directory == f"{STATE}/ui"


def test_no_secret_is_in_the_settings_that_everybody_may_read() -> None:
    assert not [name for name in host_environment() if "AUTH" in name or "SECRET" in name or "KEY" in name]


def test_everything_that_is_written_is_in_the_units_own_folders() -> None:
    settings = host_environment()
    assert "StateDirectory=bigearthnet\n" in (EC2 / "units/bigearthnet-.service.d/house.conf").read_text()
    assert STATE == "/var/lib/bigearthnet"
    for name in ("PREFECT_HOME", "PREFECT_UI_STATIC_DIRECTORY"):
        assert settings[name].startswith(f"{STATE}/")


def test_the_environment_file_keeps_what_is_in_the_values() -> None:
    text = environment_file({"B": 'with "quotes" and \\', "A": "with space # no comment"})
    assert text == 'A="with space # no comment"\nB="with \\"quotes\\" and \\\\"\n'


def test_the_project_s_address_is_the_same_everywhere() -> None:
    assert f"REPOSITORY=${{REPOSITORY:-{PROJECT_URL}}}\n" in (EC2 / "provision.sh").read_text()
    assert template()["Parameters"]["Repository"]["Default"] == PROJECT_URL
    assert f"Documentation={PROJECT_URL}\n" in (EC2 / "units/bigearthnet-.service.d/house.conf").read_text()


def provision(command: str) -> str:
    """Run a function of provision.sh by itself."""
    script = f"source {EC2 / 'provision.sh'}; {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


@needs("rsync")
@needs("git")
def test_what_git_tracks_is_installed_as_it_is_in_the_clone_and_nothing_else(tmp_path: Path) -> None:
    clone, stage = tmp_path / "clone", tmp_path / "stage"
    (clone / "flows").mkdir(parents=True)
    for name in ("uv.lock", "flows/prepare.py", "gone.py"):
        (clone / name).write_text("old")
    git(clone, "init", "-q")
    git(clone, "add", "-A")
    (clone / "flows/prepare.py").write_text("new")
    (clone / "notes.txt").write_text("mine")
    (clone / "gone.py").unlink()
    provision(f"STAGE={stage}; stage {clone}")
    found = {str(path.relative_to(stage)): path.read_text() for path in stage.rglob("*") if path.is_file()}
    assert found == {"uv.lock": "old", "flows/prepare.py": "new"}


@pytest.mark.parametrize("change", ["content", "name", "nothing"])
def test_a_changed_file_is_an_update(tmp_path: Path, change: str) -> None:
    (tmp_path / "a.py").write_text("1")
    before = provision(f"STAGE={tmp_path}; digest")
    if change == "content":
        (tmp_path / "a.py").write_text("2")
    elif change == "name":
        (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert (provision(f"STAGE={tmp_path}; digest") == before) is (change == "nothing")


@pytest.mark.parametrize("mode", ["600", "644"])
def test_a_file_is_written_beside_its_place_with_its_mode(tmp_path: Path, mode: str) -> None:
    place = tmp_path / "secret"
    place.write_text("old")
    provision(f"write {mode} {place} $'one\\ntwo'")
    assert (place.read_text(), f"{place.stat().st_mode:o}") == ("one\ntwo\n", f"100{mode}")
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
