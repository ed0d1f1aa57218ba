"""The wheel, unpacked into an empty folder: it has every module and file that it needs."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bigearthnet", "tasks", "flows", "deployments")
IMPORT_ALL = """
import importlib, sys
from pathlib import Path
root = Path(sys.argv[1])
modules = [path for name in sys.argv[2:] for path in sorted((root / name).rglob("*.py"))]
assert len(modules) > 50
for path in modules:
    parts = path.relative_to(root).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert module.__file__ == str(path), f"{module.__file__} is not in the wheel"
from deployments import settings
for name in ("prefect.yaml", "deployments/work_pool.yaml", "deployments/automations.yaml"):
    assert settings.project_file(name).exists(), name
found = settings.environment(4200, {})
assert Path(found["PREFECT_LOGGING_CONFIG_PATH"]) == root / "deployments" / "logging.yml"
assert Path(found["PREFECT_LOGGING_CONFIG_PATH"]).exists()
assert found["PREFECT_HOME"] == str(Path.home() / "bigearthnet" / ".prefect")
assert found["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "300"
"""

pytestmark = pytest.mark.integration


def test_the_wheel_has_all_that_it_imports(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    unpacked = tmp_path / "unpacked"
    with ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    where = {"PYTHONPATH": str(unpacked), "HOME": str(tmp_path / "home"), "PATH": ""}
    imported = subprocess.run(
        (sys.executable, "-P", "-c", IMPORT_ALL, str(unpacked), *PACKAGES),
        env=where,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert imported.returncode == 0, imported.stderr
    entry = next(unpacked.glob("*.dist-info/entry_points.txt")).read_text()
    assert "bigearthnet = deployments.cli:main" in entry
