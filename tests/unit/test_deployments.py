"""prefect.yaml: what it offers loads, and its parameters fit what the flows take."""

from typing import Any

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.settings import POOL, ROOT

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def full_name(deployment: dict[str, Any]) -> str:
    return f"{deployment['entrypoint'].rsplit('.')[-1]}/{deployment['name']}"


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
