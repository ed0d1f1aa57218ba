"""The stack with a host in it."""

import base64
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from moto import mock_aws

from tests.support.stack import REGION, allowed, client, create, outputs, properties, template

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")


@dataclass(frozen=True, slots=True)
class Host:
    """What came of the template: outputs, and what EC2 and IAM say of the rest."""

    outputs: dict[str, str]
    instance: dict[str, Any]
    rules: list[dict[str, Any]]
    user_data: str
    trust: list[dict[str, Any]]
    volumes: list[dict[str, Any]]


@mock_aws
def create_host(**parameters: str) -> Host:
    ec2 = client("ec2")
    ec2.create_key_pair(KeyName="mine")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    told = outputs(create(KeyName="mine", SshAddress="203.0.113.7/32", Image=image, **parameters))
    number = told["InstanceId"]
    (reservation,) = ec2.describe_instances(InstanceIds=[number])["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["ImageId"] == image
    (group,) = [g for g in ec2.describe_security_groups()["SecurityGroups"] if g["GroupName"] != "default"]
    data = ec2.describe_instance_attribute(InstanceId=number, Attribute="userData")["UserData"]["Value"]
    profile = instance["IamInstanceProfile"]["Arn"].split("/")[-1]
    iam = client("iam")
    (role,) = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]
    return Host(
        outputs=told,
        instance=instance,
        rules=group["IpPermissions"],
        user_data=base64.b64decode(data).decode(),
        trust=role["AssumeRolePolicyDocument"]["Statement"],
        volumes=ec2.describe_volumes()["Volumes"],
    )


@pytest.fixture(scope="module")
def bare() -> Host:
    """With nothing but what must be said."""
    return create_host()


@pytest.fixture(scope="module")
def full() -> Host:
    """With all there is to say."""
    return create_host(DataVolumeGiB="250", Repository="https://example.org/fork.git", Ref="v1.2")


def test_the_host_is_a_t2_micro_that_never_pays_for_credits(bare: Host) -> None:
    assert bare.instance["InstanceType"] == "t2.micro"
    assert properties("Instance")["CreditSpecification"] == {"CPUCredits": "standard"}


def test_another_deploy_takes_no_other_image_and_so_no_other_instance() -> None:
    assert properties("Instance")["ImageId"] == {"Ref": "Image"}
    image = template()["Parameters"]["Image"]
    assert (image["Type"], image["Default"]) == ("String", "")  # no type that CloudFormation looks up anew


def test_ssh_is_open_to_one_address_and_nothing_else_is(bare: Host) -> None:
    assert properties("Instance")["SecurityGroupIds"] == [{"Fn::GetAtt": ["SecurityGroup", "GroupId"]}]
    (rule,) = bare.rules
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert [entry["CidrIp"] for entry in rule["IpRanges"]] == ["203.0.113.7/32"]
    assert rule["Ipv6Ranges"] == []


@pytest.mark.parametrize("parameter", ["SshAddress", "Image"])
def test_a_host_is_refused_without(parameter: str) -> None:
    rule = template()["Rules"]["HostIsWhole"]
    assert rule["RuleCondition"] == template()["Conditions"]["HasHost"]
    needed = {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}
    assert needed in [assertion["Assert"] for assertion in rule["Assertions"]]


def test_without_more_there_is_no_data_volume(bare: Host) -> None:
    assert "DataVolumeId" not in bare.outputs
    assert [volume for volume in bare.volumes if volume["Size"] > 8] == []
    assert "DATA_VOLUME_SECONDS=0" in bare.user_data


def test_a_data_volume_is_attached_and_waited_for(full: Host) -> None:
    (volume,) = [one for one in full.volumes if one["VolumeId"] == full.outputs["DataVolumeId"]]
    assert volume["Size"] == 250
    assert [one["InstanceId"] for one in volume["Attachments"]] == [full.outputs["InstanceId"]]
    assert properties("DataVolume")["Encrypted"] is True
    assert "DATA_VOLUME_SECONDS=600" in full.user_data


def test_the_data_volume_outlives_its_stack() -> None:
    volume = template()["Resources"]["DataVolume"]
    assert (volume["DeletionPolicy"], volume["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_instance_may_write_datasets_and_nothing_else(bare: Host) -> None:
    (statement,) = bare.trust
    assert (statement["Effect"], statement["Principal"]) == ("Allow", {"Service": "ec2.amazonaws.com"})
    assert properties("Role").keys() == {"AssumeRolePolicyDocument", "ManagedPolicyArns"}
    assert properties("Role")["ManagedPolicyArns"] == [{"Ref": "WritePolicy"}]


@pytest.mark.skipif(not shutil.which("cloud-init"), reason="needs cloud-init")
@pytest.mark.parametrize("host", ["bare", "full"])
def test_cloud_init_takes_the_user_data(host: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(request.getfixturevalue(host).user_data)
    command = ["cloud-init", "schema", "--config-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_user_data_provisions_what_was_asked_for(full: Host) -> None:
    assert full.user_data.startswith("#cloud-config\n")
    clone = "/usr/local/src/bigearthnet"
    assert yaml.safe_load(full.user_data)["runcmd"] == [
        ["git", "clone", "--quiet", "--branch", "v1.2", "--", "https://example.org/fork.git", clone],
        [
            "env",
            f"AWS_DEFAULT_REGION={REGION}",
            "DATA_VOLUME_SECONDS=600",
            f"{clone}/deployments/ec2/provision.sh",
        ],
    ]


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("SshAddress", "203.0.113.7/32", True),
        ("SshAddress", "203.0.113.0/24", False),
        ("SshAddress", "0.0.0.0/0", False),
        ("Image", "ami-0123456789abcdef0", True),
        ("Image", "ubuntu", False),
        ("Repository", "https://example.org/a/fork.git", True),
        ("Repository", "https://user:token@example.org/fork", False),
        ("Repository", "https://example.org/$(reboot)", False),
        ("Ref", "v1.2", True),
        ("Ref", "main; reboot", False),
        ("Ref", "--upload-pack=x", False),
    ],
)
def test_parameters_that_reach_a_shell_or_the_firewall_are_narrow(name: str, value: str, taken: bool) -> None:
    assert bool(re.fullmatch(allowed(name), value)) is taken
