"""The CloudFormation template, and the stack that moto creates from it."""

from pathlib import Path
from typing import Any

import boto3
from cfnlint.decode import decode  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).parents[2] / "deployments" / "aws" / "stack.yaml"
REGION = "eu-central-1"


def client(service: Any) -> Any:
    return boto3.client(service, region_name=REGION)


def template() -> dict[str, Any]:
    body, problems = decode(str(TEMPLATE))
    assert not problems
    return dict(body)


NOTHING = {"Ref": "AWS::NoValue"}


def properties(resource: str, *conditions: str) -> dict[str, Any]:
    """Return a resource's properties from the template, if `conditions` hold: moto ignores some of them."""

    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in map(resolve, value) if one != NOTHING]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Fn::If"}:
            condition, then, otherwise = value["Fn::If"]
            return resolve(then if condition in conditions else otherwise)
        return {
            key: one for key, one in zip(value, map(resolve, value.values()), strict=True) if one != NOTHING
        }

    return dict(resolve(template()["Resources"][resource]["Properties"]))


def create(**parameters: str) -> dict[str, str]:
    """Create the stack; returns its outputs."""
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName="datasets",
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = cloudformation.describe_stacks(StackName="datasets")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
