"""The documents' examples in Python, as a person runs them in a fresh clone, without a server."""

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
url = f"{SubprocessASGIServer().api_url}/block_documents/filter"
secrets = {"include_secrets": True}
print([httpx.post(url, json=secrets, auth=auth).status_code for auth in (None, tuple(LOGIN.split(":")))])
print(AwsCredentials.load("bigearthnet").region_name)
"""
"""Asks the temporary server, which stays until the process ends, without the login and with it."""


def test_the_examples_prepare_the_sample_and_their_server_asks_for_the_login(tmp_path: Path) -> None:
    (code,) = [code for code in blocks(README, "python") if "prepare(" in code]
    aws = next(code for code in blocks(ROOT / "deployments" / "aws" / "README.md", "sh") if ".save(" in code)
    save = aws.partition("settings.apply()")[2].rstrip("\n'")
    clone = tmp_path / "clone"
    for package in ("bigearthnet", "tasks", "flows", "deployments"):
        shutil.copytree(ROOT / package, clone / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", clone)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    login = f"from pathlib import Path; LOGIN = Path({str(clone / '.prefect/login')!r}).read_text()\n"
    done = subprocess.run(
        [sys.executable, "-"],
        input=f"{code}\n{save}\n{login}{ASK}",
        cwd=clone,
        env=environment | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[401, 200]", "eu-central-1"]
    published = Published.read(clone / "sample-dataset")
    assert published.sha256
    assert (clone / ".prefect/prefect.db").exists()
    assert not (tmp_path / "home").exists(), "Prefect wrote to its own folder in the person's home"
