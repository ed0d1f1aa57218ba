"""The stack with a host."""

import base64
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto import mock_aws

from tests.support.stack import REGION, client, create, properties, template

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")

CLONE = "/usr/local/src/bigearthnet"


@dataclass(frozen=True, slots=True)
class Host:
    """The stack's outputs, and what EC2 and IAM created."""

    outputs: dict[str, str]
    instance: dict[str, Any]
    ingress: list[dict[str, Any]]
    user_data: str
    volumes: dict[str, dict[str, Any]]


@cache
@mock_aws
def create_host(**parameters: str) -> Host:
    ec2 = client("ec2")
    ec2.create_key_pair(KeyName="mine")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    outputs = create(KeyName="mine", SshAddress="203.0.113.7/32", Image=image, **parameters)
    (reservation,) = ec2.describe_instances(InstanceIds=[outputs["InstanceId"]])["Reservations"]
    (group,) = [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"]
    data = ec2.describe_instance_attribute(InstanceId=outputs["InstanceId"], Attribute="userData")
    return Host(
        outputs=outputs,
        instance=reservation["Instances"][0],
        ingress=group["IpPermissions"],
        user_data=base64.b64decode(data["UserData"]["Value"]).decode(),
        volumes={volume["VolumeId"]: volume for volume in ec2.describe_volumes()["Volumes"]},
    )


FULL = {"DataVolumeGiB": "250", "Repository": "https://example.org/fork.git", "Ref": "v1.2"}


def test_the_instance_is_small_and_asks_for_imdsv2() -> None:
    assert create_host().instance["InstanceType"] == "t2.micro"
    found = properties("Instance")
    assert found["CreditSpecification"] == {"CPUCredits": "standard"}
    assert found["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert found["ImageId"] == {"Ref": "Image"}
    # A type that CloudFormation looks up again at each deploy would replace the instance.
    assert template()["Parameters"]["Image"]["Type"] == "String"


def test_only_ssh_from_one_address_is_open() -> None:
    assert properties("Instance")["SecurityGroupIds"] == [{"Fn::GetAtt": ["SecurityGroup", "GroupId"]}]
    (rule,) = create_host().ingress
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert ([entry["CidrIp"] for entry in rule["IpRanges"]], rule["Ipv6Ranges"]) == (["203.0.113.7/32"], [])


def test_the_instance_may_write_datasets_and_nothing_else() -> None:
    found = properties("Role")
    assert found.keys() == {"AssumeRolePolicyDocument", "ManagedPolicyArns"}
    assert found["ManagedPolicyArns"] == [{"Ref": "WritePolicy"}]
    (statement,) = found["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}


@pytest.mark.parametrize("parameter", ["SshAddress", "Image"])
def test_a_host_needs(parameter: str) -> None:
    rule = template()["Rules"]["HostIsWhole"]
    assert rule["RuleCondition"] == template()["Conditions"]["HasHost"]
    needed = {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}
    assert needed in [assertion["Assert"] for assertion in rule["Assertions"]]


def test_a_data_volume_is_created_and_attached_if_it_has_a_size() -> None:
    full = create_host(**FULL)
    assert [volume for volume in create_host().volumes.values() if volume["Size"] > 8] == []
    volume = full.volumes[full.outputs["DataVolumeId"]]
    assert volume["Size"] == 250
    assert [one["InstanceId"] for one in volume["Attachments"]] == [full.outputs["InstanceId"]]
    assert properties("DataVolume")["Encrypted"] is True


@pytest.mark.parametrize(
    ("parameters", "ref", "repository", "seconds"),
    [
        ({}, "main", "https://github.com/bigearthnet-prefect/bigearthnet-prefect", 0),
        (FULL, "v1.2", "https://example.org/fork.git", 600),
    ],
)
def test_the_user_data_provisions_the_host(
    tmp_path: Path, parameters: dict[str, str], ref: str, repository: str, seconds: int
) -> None:
    text = create_host(**parameters).user_data
    assert text.startswith("#cloud-config\n")
    environment = [f"AWS_DEFAULT_REGION={REGION}", f"DATA_VOLUME_SECONDS={seconds}"]
    assert yaml.safe_load(text)["runcmd"] == [
        ["git", "clone", "--quiet", "--branch", ref, "--", repository, CLONE],
        ["env", *environment, f"{CLONE}/deployments/ec2/provision.sh"],
    ]
    if shutil.which("cloud-init"):
        (tmp_path / "user-data").write_text(text)
        command = ["cloud-init", "schema", "--config-file", str(tmp_path / "user-data")]
        subprocess.run(command, check=True, capture_output=True)
