"""The README's example in Python, as a person runs it in a fresh clone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.published import Published
from tests.unit.test_docs import README, ROOT, blocks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # a slow core starts the server in minutes

ASK = """
import httpx
from prefect.server.api.server import SubprocessASGIServer
url = f"{SubprocessASGIServer().api_url}/flow_runs/count"
print([httpx.post(url, json={}, auth=auth).status_code for auth in (None, tuple(LOGIN.split(":")))])
"""
"""Asks the temporary server, which stays until the process ends, without the login and with it."""


def test_the_example_prepares_the_sample_and_its_server_asks_for_the_login(tmp_path: Path) -> None:
    (code,) = [code for code in blocks(README, "python") if "prepare(" in code]
    clone = tmp_path / "clone"
    for package in ("bigearthnet", "tasks", "flows", "deployments"):
        shutil.copytree(ROOT / package, clone / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", clone)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    login = f"from pathlib import Path; LOGIN = Path({str(clone / '.prefect/login')!r}).read_text()\n"
    done = subprocess.run(
        [sys.executable, "-"],
        input=code + login + ASK,
        cwd=clone,
        env=environment | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[401, 200]"
    published = Published.read(clone / "sample-dataset")
    assert published.sha256
    assert (clone / ".prefect/prefect.db").exists()
    assert not (tmp_path / "home").exists(), "Prefect wrote to its own folder in the person's home"
