"""The CloudFormation stack: its template, and what moto makes of it."""

from pathlib import Path
from typing import Any

import boto3
from cfnlint.decode import decode  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).parents[2] / "deployments" / "aws" / "stack.yaml"
REGION = "eu-central-1"
NAME = "datasets"


def client(service: Any) -> Any:
    return boto3.client(service, region_name=REGION)


def template() -> dict[str, Any]:
    body, problems = decode(str(TEMPLATE))
    assert not problems
    return dict(body)


def properties(resource: str) -> dict[str, Any]:
    """A resource's properties as the template has them, for what moto leaves out when it makes a stack."""
    return dict(template()["Resources"][resource]["Properties"])


def allowed(parameter: str) -> str:
    """The regular expression that a parameter's values must match."""
    return str(template()["Parameters"][parameter]["AllowedPattern"])


def create(**parameters: str) -> dict[str, Any]:
    """Make the stack; returns what CloudFormation says of it."""
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=NAME,
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = cloudformation.describe_stacks(StackName=NAME)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return dict(stack)


def outputs(stack: dict[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
