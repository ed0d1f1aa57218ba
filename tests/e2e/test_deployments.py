"""prefect.yaml: what it offers loads from any folder, and fits what the flows take."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.settings import POOL, ROOT

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def quick() -> None:
    """Replaces that of conftest.py: no flow runs in this process, and it needs no server here."""


DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
# In a process of its own, in another folder, as a worker does it.
LOOK = """
import json, sys
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
asked = json.loads(sys.argv[1])
flow = load_flow_from_entrypoint(asked["entrypoint"])
schema = parameter_schema(flow)
given = asked.get("parameters", {})
missing = [name for name in schema.required if name not in given]
flow.validate_parameters(given | dict.fromkeys(missing, "s3://bucket/dataset"))
print(json.dumps({"flow": flow.name, "names": list(schema.properties), "missing": missing}))
"""


def full_name(deployment: dict[str, Any]) -> str:
    return f"{deployment['entrypoint'].rsplit('.')[-1]}/{deployment['name']}"


@cache
def look(place: int, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(DEPLOYMENTS[place])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


def test_the_names_are_those_that_the_documentation_uses() -> None:
    assert sorted(full_name(deployment) for deployment in DEPLOYMENTS) == [
        "fetch/download-dataset",
        "mirror/mirror-archives",
        "prepare/prepare-dataset",
        "prepare/prepare-sample",
        "share/share-links",
        "sync/nightly-sync",
    ]


@pytest.mark.parametrize("place", range(len(DEPLOYMENTS)), ids=lambda n: full_name(DEPLOYMENTS[n]))
def test_a_deployment_loads_from_another_folder_and_its_parameters_fit(place: int, elsewhere: Path) -> None:
    deployment = DEPLOYMENTS[place]
    found = look(place, elsewhere)
    assert f"{found['flow']}/{deployment['name']}" == full_name(deployment)
    assert set(deployment.get("parameters", {})) <= set(found["names"])
    if "schedules" in deployment:
        assert found["missing"] == [], "nobody is there at night to fill in a form"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=full_name)
def test_the_worker_takes_its_runs(deployment: dict[str, Any]) -> None:
    assert deployment["work_pool"] == {"name": POOL}
