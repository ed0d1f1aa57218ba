"""The stack of the host: as CloudFormation's own rules see it, and as moto makes it."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.api import lint_file  # type: ignore[import-untyped]
from cfnlint.decode import decode  # type: ignore[import-untyped]
from moto import mock_aws

TEMPLATE = Path(__file__).parents[2] / "deployments" / "ec2" / "host.yaml"
REGION = "eu-central-1"
POLICY = "arn:aws:iam::123456789012:policy/datasets-WritePolicy-1ABC"
UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
IMAGE = "/ubuntu"
"""In its place: moto's own list has no Ubuntu, and takes no additions below /aws."""


def client(service: Any) -> Any:
    return boto3.client(service, region_name=REGION)


def template() -> dict[str, Any]:
    body, problems = decode(str(TEMPLATE))
    assert not problems
    return dict(body)


def create(name: str, path: Path, **parameters: str) -> dict[str, str]:
    """Make a stack; returns its outputs."""
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=path.read_text(encoding="utf-8").replace(UBUNTU, IMAGE),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@dataclass(frozen=True, slots=True)
class Host:
    """What came of the template: outputs, and what EC2 and IAM say of the rest."""

    outputs: dict[str, str]
    instance: dict[str, Any]
    rules: list[dict[str, Any]]
    user_data: str
    role: dict[str, Any]
    volumes: list[dict[str, Any]]


@mock_aws
def create_host(**parameters: str) -> Host:
    ec2 = client("ec2")
    ec2.create_key_pair(KeyName="mine")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    client("ssm").put_parameter(Name=IMAGE, Value=image, Type="String")
    outputs = create("host", TEMPLATE, KeyName="mine", SshAddress="203.0.113.7/32", **parameters)
    number = outputs["InstanceId"]
    (reservation,) = ec2.describe_instances(InstanceIds=[number])["Reservations"]
    (instance,) = reservation["Instances"]
    (group,) = [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"]
    data = ec2.describe_instance_attribute(InstanceId=number, Attribute="userData")["UserData"]["Value"]
    profile = instance["IamInstanceProfile"]["Arn"].split("/")[-1]
    found = client("iam").get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
    (role,) = found["Roles"]
    volumes = ec2.describe_volumes()["Volumes"]
    return Host(outputs, instance, group["IpPermissions"], base64.b64decode(data).decode(), role, volumes)


@pytest.fixture(scope="module")
def bare() -> Host:
    """With nothing but what must be said."""
    return create_host()


@pytest.fixture(scope="module")
def full() -> Host:
    """With all there is to say."""
    return create_host(
        WritePolicyArn=POLICY, DataVolumeGiB="250", Repository="https://example.org/fork.git", Ref="v1.2"
    )


def properties(resource: str) -> dict[str, Any]:
    """A resource's properties as the template has them, for what moto leaves out when it makes a stack."""
    return dict(template()["Resources"][resource]["Properties"])


def test_cfn_lint_says_nothing() -> None:
    assert lint_file(TEMPLATE) == []


def test_the_host_is_a_t2_micro_that_never_pays_for_credits(bare: Host) -> None:
    assert bare.instance["InstanceType"] == "t2.micro"
    assert properties("Instance")["CreditSpecification"] == {"CPUCredits": "standard"}
    assert properties("Instance")["ImageId"] == {"Ref": "Image"}
    assert template()["Parameters"]["Image"]["Default"] == UBUNTU


def test_ssh_is_open_to_one_address_and_nothing_else_is(bare: Host) -> None:
    assert properties("Instance")["SecurityGroupIds"] == [{"Fn::GetAtt": ["SecurityGroup", "GroupId"]}]
    (rule,) = bare.rules
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert [entry["CidrIp"] for entry in rule["IpRanges"]] == ["203.0.113.7/32"]
    assert rule["Ipv6Ranges"] == []


def test_without_more_there_is_no_data_volume(bare: Host) -> None:
    assert "DataVolumeId" not in bare.outputs
    assert [volume for volume in bare.volumes if volume["Size"] > 8] == []
    assert "DATA_VOLUME_SECONDS=0\n" in bare.user_data


def test_a_data_volume_is_attached_and_waited_for(full: Host) -> None:
    (volume,) = [one for one in full.volumes if one["VolumeId"] == full.outputs["DataVolumeId"]]
    assert volume["Size"] == 250
    assert [one["InstanceId"] for one in volume["Attachments"]] == [full.outputs["InstanceId"]]
    assert properties("DataVolume")["Encrypted"] is True
    assert "DATA_VOLUME_SECONDS=600\n" in full.user_data


def test_the_data_volume_outlives_its_stack() -> None:
    volume = template()["Resources"]["DataVolume"]
    assert (volume["DeletionPolicy"], volume["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_instance_has_the_role_and_the_role_the_bucket_s_write_policy_alone(full: Host) -> None:
    (statement,) = full.role["AssumeRolePolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Allow", {"Service": "ec2.amazonaws.com"})
    assert properties("Role").keys() == {"AssumeRolePolicyDocument", "ManagedPolicyArns"}
    assert properties("Role")["ManagedPolicyArns"] == {
        "Fn::If": ["HasBucket", [{"Ref": "WritePolicyArn"}], {"Ref": "AWS::NoValue"}]
    }
    assert template()["Conditions"]["HasBucket"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "WritePolicyArn"}, ""]}]
    }


def test_the_user_data_is_a_script_that_provisions_what_was_asked_for(full: Host) -> None:
    assert full.user_data.startswith("#!/bin/bash\n")
    cloned = "git clone --quiet --branch v1.2 -- https://example.org/fork.git /usr/local/src/bigearthnet\n"
    assert cloned in full.user_data
    assert full.user_data.endswith("/usr/local/src/bigearthnet/deployments/ec2/provision.sh\n")
    assert f"AWS_DEFAULT_REGION={REGION} " in full.user_data


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("WritePolicyArn", POLICY, True),
        ("WritePolicyArn", "", True),
        ("WritePolicyArn", "AdministratorAccess", False),
        ("SshAddress", "203.0.113.7/32", True),
        ("SshAddress", "203.0.113.0/24", False),
        ("SshAddress", "0.0.0.0/0", False),
        ("Repository", "https://example.org/a/fork.git", True),
        ("Repository", "https://user:token@example.org/fork", False),
        ("Repository", "https://example.org/$(reboot)", False),
        ("Ref", "v1.2", True),
        ("Ref", "main; reboot", False),
        ("Ref", "--upload-pack=x", False),
    ],
)
def test_parameters_that_reach_a_shell_or_the_firewall_are_narrow(name: str, value: str, taken: bool) -> None:
    assert bool(re.fullmatch(template()["Parameters"][name]["AllowedPattern"], value)) is taken
