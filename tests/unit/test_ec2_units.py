"""Scripts, units and settings of the host, checked by shellcheck, systemd and Prefect."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from prefect.settings import Settings

from bigearthnet.source.http import PROJECT_URL
from deployments.settings import PORT, environment
from tests.support.services import environment_file, host_environment, unit_environment, unit_values
from tests.support.stack import template

EC2 = Path(__file__).parents[2] / "deployments" / "ec2"
UNITS = {path.stem: path.read_text() for path in (EC2 / "units").glob("*.service")}
SHARED = (EC2 / "units/bigearthnet-.service.d/hardening.conf").read_text()
ALIASES = {"PREFECT_UI_STATIC_DIRECTORY"}
"""Names that Prefect reads, but lists under other names."""


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(tool), reason=f"needs {tool}")


@needs("shellcheck")
def test_shellcheck_finds_nothing() -> None:
    scripts = [str(path) for path in EC2.glob("*.sh")]
    done = subprocess.run(["shellcheck", "-x", *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["provision.sh", "uninstall.sh"])
def test_scripts_are_executable_and_stop_at_the_first_failure(name: str) -> None:
    assert os.access(EC2 / name, os.X_OK)
    assert "\nset -euo pipefail\n" in (EC2 / name).read_text()


@needs("systemd-analyze")
@needs("curl")
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "command",
    [
        ["verify", "--man=no"],
        ["security", "--no-pager", "--offline=yes", "--threshold=17"],  # of 100
    ],
)
def test_systemd_accepts_the_units_and_their_exposure(tmp_path: Path, command: list[str], unit: str) -> None:
    shutil.copytree(EC2 / "units", tmp_path, dirs_exist_ok=True)
    for name, text in UNITS.items():
        installed = text.replace("/opt/bigearthnet/.venv/bin", str(Path(sys.executable).parent))
        (tmp_path / f"{name}.service").write_text(installed)
    done = subprocess.run(
        ["systemd-analyze", *command, str(tmp_path / f"{unit}.service")],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "bigearthnet" in line or "hardening" in line]
    assert (done.returncode, complaints) == (0, []), done.stdout


@pytest.mark.parametrize(
    ("unit", "lines"),
    [
        ("bigearthnet-server", ["OOMScoreAdjust=-500"]),
        # The worker outlives a run that takes too much memory, and ends its run when it is stopped.
        ("bigearthnet-worker", ["OOMScoreAdjust=500", "OOMPolicy=continue", "MemoryMax=560M"]),
        ("bigearthnet-worker", ["KillMode=mixed", "RequiresMountsFor=/data", "ReadWritePaths=/data"]),
    ],
)
def test_runs_cannot_take_the_host_down(unit: str, lines: list[str]) -> None:
    assert set(lines) <= set(UNITS[unit].splitlines())


def test_the_workers_runs_cannot_read_what_the_server_keeps() -> None:
    """Neither the database, nor the key in it that the credentials of blocks are encrypted with."""
    units = [unit.removeprefix("bigearthnet-") for unit in UNITS]
    users = {unit: unit_values(unit, "User") for unit in units}
    assert users == {
        "server": ["bigearthnet-server"],
        "worker": ["bigearthnet"],
        "deploy": ["bigearthnet"],
    }
    assert "\nStateDirectoryMode=0700\n" in SHARED
    owners = {(state, *users[unit]) for unit in units for state in unit_values(unit, "StateDirectory")}
    assert owners == {("bigearthnet", "bigearthnet-server"), ("bigearthnet-worker", "bigearthnet")}
    for unit in units:
        (state,) = unit_values(unit, "StateDirectory")
        written = unit_environment(unit)
        assert "PREFECT_HOME" in written
        assert all(Path(path).is_relative_to(f"/var/lib/{state}") for path in written.values())
    assert host_environment("worker")["BIGEARTHNET_ROOTS"] == "/data"


@pytest.mark.parametrize("unit", ["server", "worker"])
def test_prefect_knows_every_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unit: str) -> None:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in (host_environment(unit) | {"PREFECT_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    known = settings.to_environment_variables(exclude_unset=True)
    assert {name for name in host_environment(unit) if name.startswith("PREFECT_")} <= known.keys() | ALIASES
    assert settings.server.api.host == "127.0.0.1"
    assert settings.server.api.csrf_protection_enabled
    assert settings.server.api.cors_allowed_origins == "http://127.0.0.1:4200,http://localhost:4200"
    assert settings.server.events.expired_bucket_buffer.days == 30, (
        "runs become Crashed after a long power cut"
    )
    assert settings.server.services.db_vacuum.enabled == {"events", "flow_runs"}
    assert settings.server.services.db_vacuum.retention_period.days == 60
    assert settings.worker.query_seconds == 15


@pytest.mark.parametrize("unit", ["server", "worker", "deploy"])
def test_the_settings_hold_no_secret_and_write_to_the_state_folder_only(unit: str) -> None:
    settings = host_environment(unit)
    assert not [name for name in settings if "AUTH" in name or "SECRET" in name or "KEY" in name]
    assert settings["PREFECT_HOME"] == unit_environment(unit)["PREFECT_HOME"], "a file overrides it"


def test_the_environment_file_holds_the_settings() -> None:
    expected = environment(PORT, {})
    del expected["PREFECT_HOME"]
    assert environment_file() == expected
    assert not [value for value in host_environment("server").values() if '"' in value or "\\" in value]
    files = [line for line in SHARED.splitlines() if line.startswith("EnvironmentFile=")]
    assert files[:2] == [
        "EnvironmentFile=/etc/bigearthnet/environment",
        "EnvironmentFile=/opt/bigearthnet/deployments/ec2/settings.env",
    ]


def test_the_project_has_one_address() -> None:
    assert template()["Parameters"]["Repository"]["Default"] == PROJECT_URL
    assert f"Documentation={PROJECT_URL}\n" in SHARED


def provision(command: str) -> str:
    """Call a function of provision.sh."""
    script = f"source {EC2 / 'provision.sh'}; {command}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout


@needs("rsync")
@needs("git")
def test_exactly_the_tracked_files_of_the_clone_are_installed(tmp_path: Path) -> None:
    clone, stage = tmp_path / "clone", tmp_path / "stage"
    (clone / "flows").mkdir(parents=True)
    for name in ("uv.lock", "flows/prepare.py", "gone.py"):
        (clone / name).write_text("old")
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "add", "-A"], check=True)
    (clone / "flows/prepare.py").write_text("new")
    (clone / "notes.txt").write_text("mine")
    (clone / "gone.py").unlink()
    provision(f"STAGE={stage}; stage {clone}")
    found = {str(path.relative_to(stage)): path.read_text() for path in stage.rglob("*") if path.is_file()}
    assert found == {"uv.lock": "old", "flows/prepare.py": "new"}


def test_worker_and_server_get_accounts_and_data_keeps_its_owner(tmp_path: Path) -> None:
    """The tools that need root are replaced by functions that print."""
    made = provision(f"""
        id() {{ false; }}; getent() {{ false; }}; useradd() {{ echo "${{@: -1}}: $*"; }}
        stat() {{ if [[ $2 == %u ]]; then echo 54321; else echo bigearthnet; fi; }}
        DATA={tmp_path}; ensure_accounts
    """).splitlines()
    worker, server = (line.split() for line in made)
    assert (worker[0], server[0]) == ("bigearthnet:", "bigearthnet-server:")
    assert worker[worker.index("--home-dir") + 1] == str(tmp_path)
    assert worker[worker.index("--uid") + 1] == "54321"
    assert "--uid" not in server
    assert "--system" in worker
    assert "--system" in server


def test_a_uv_without_a_hash_of_the_lock_is_not_installed(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "uv-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("uv-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1.2")
    (tmp_path / "deployments").mkdir()
    shutil.copy(EC2.parent / "uv_requirement.py", tmp_path / "deployments")
    lock = f'[[package]]\nname = "uv"\nversion = "1.2"\nwheels = [{{ hash = "sha256:{"0" * 64}" }}]\n'
    (tmp_path / "uv.lock").write_text(lock)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        provision(f"""
            export PIP_NO_INDEX=1 PIP_FIND_LINKS={tmp_path} PATH={Path(sys.executable).parent}:$PATH
            STAGE={tmp_path} HOME_DIR={tmp_path}/home; ensure_uv
        """)
    assert "DO NOT MATCH THE HASHES" in caught.value.stderr


def test_the_lock_names_uv_for_the_host() -> None:
    line = subprocess.check_output([sys.executable, EC2.parent / "uv_requirement.py"], text=True)
    packages = tomllib.loads((EC2.parents[1] / "uv.lock").read_text())["package"]
    (uv,) = [package for package in packages if package["name"] == "uv"]
    (wheel,) = [
        one for one in uv["wheels"] if one["url"].endswith("manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
    ]
    assert line.startswith(f"uv=={uv['version']} --hash=sha256:")
    assert f" --hash={wheel['hash']}" in line


@pytest.mark.parametrize(
    ("change", "is_update"), [("echo 2 >a.py", True), ("mv a.py b.py", True), ("touch a.py", False)]
)
def test_changed_files_are_an_update(tmp_path: Path, *, change: str, is_update: bool) -> None:
    (tmp_path / "a.py").write_text("1\n")
    script = f"STAGE={tmp_path}; before=$(print_digest); (cd $STAGE; {change})"
    assert (
        provision(f'{script}; [[ $(print_digest) == "$before" ]] || echo changed') == "changed\n" * is_update
    )


@pytest.mark.parametrize(("active", "is_current"), [("server worker", True), ("server", False), ("", False)])
def test_an_installation_is_current_if_both_services_run(
    tmp_path: Path, *, active: str, is_current: bool
) -> None:
    script = f"""
        systemctl() {{ for unit; do [[ "{active}" == *${{unit#*-}}* ]] && return; done; false; }}
        STAGE={EC2} ETC={tmp_path} STAMP={tmp_path}/stamp
        echo secret >$ETC/secret; print_digest >$STAMP
        ! is_current || echo current
    """
    assert provision(script) == "current\n" * is_current


@pytest.mark.parametrize("mode", ["600", "644"])
def test_a_file_is_written_atomically_with_its_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    inode = path.stat().st_ino
    provision(f"write {mode} {path} $'one\\ntwo'")
    assert (path.read_text(), f"{path.stat().st_mode:o}") == ("one\ntwo\n", f"100{mode}")
    assert path.stat().st_ino != inode
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
