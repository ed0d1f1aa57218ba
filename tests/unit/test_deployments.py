"""prefect.yaml: what it offers loads, and its parameters fit what the flows take."""

from importlib import import_module
from typing import Any

import pytest
import yaml
from prefect import Task
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.utilities.callables import parameter_schema

from deployments.settings import POOL, ROOT

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def full_name(deployment: dict[str, Any]) -> str:
    return f"{deployment['entrypoint'].rsplit('.')[-1]}/{deployment['name']}"


def test_no_result_is_kept_and_no_name_of_a_person_replaced() -> None:
    """A result that is read again could execute code; a name that a flow makes replaces the typed one."""
    assert not get_current_settings().results.persist_by_default
    found = []
    for path in (*(ROOT / "flows").glob("*.py"), *(ROOT / "tasks").glob("*.py")):
        found += vars(import_module(f"{path.parent.name}.{path.stem}")).values()
    flows = [one for one in found if isinstance(one, Flow)]
    tasks = [one for one in found if isinstance(one, Task)]
    assert len(flows) >= 5
    assert len(tasks) >= 15
    assert not [one.name for one in flows if one.flow_run_name or one.persist_result]
    assert not [one.name for one in tasks if one.persist_result is not False]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=full_name)
def test_a_deployment_loads_and_its_parameters_fit(deployment: dict[str, Any]) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"])
    schema, given = parameter_schema(flow), deployment.get("parameters", {})
    missing = [name for name in schema.required if name not in given]
    assert f"{flow.name}/{deployment['name']}" == full_name(deployment)
    assert set(given) <= set(schema.properties)
    flow.validate_parameters(given | dict.fromkeys(missing, "s3://bucket/dataset"))
    assert deployment["work_pool"] == {"name": POOL}
    if "schedules" in deployment:
        assert missing == [], "nobody is there at night to fill in a form"
