"""The stack without a host: a bucket, and two policies."""

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest
from cfnlint.api import lint_file  # type: ignore[import-untyped]
from moto import mock_aws
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import clean_json

from tests.support.stack import NAME, REGION, TEMPLATE, allowed, client, create, outputs, template

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")

WRITE_ACTIONS = {
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
}
READ_ACTIONS = {"s3:ListBucket", "s3:GetObject"}


@dataclass(frozen=True, slots=True)
class Stack:
    """What came of the template: its outputs, what S3 says of the bucket, and both policies' statements."""

    outputs: dict[str, str]
    settings: dict[str, Any]
    write: list[dict[str, Any]]
    read: list[dict[str, Any]]

    @property
    def arn(self) -> str:
        return f"arn:aws:s3:::{self.outputs['BucketName']}"


@mock_aws
def create_stack(**parameters: str) -> Stack:
    made = create(**parameters)
    told = outputs(made)
    s3 = client("s3")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [told["BucketName"]]
    put_what_moto_leaves_out(s3, told["BucketName"], account=made["StackId"].split(":")[4])
    return Stack(
        told,
        read_back(s3, told["BucketName"]),
        statements(told["WritePolicyArn"]),
        statements(told["ReadPolicyArn"]),
    )


def put_what_moto_leaves_out(s3: Any, bucket: str, account: str) -> None:
    """Of a bucket's settings moto takes only the encryption from a template; the others go to its S3 here.

    boto3 refuses what S3's API does not know, so that a setting is read back only if it is written right.
    """
    (stack,) = cloudformation_backends[account][REGION].describe_stacks(NAME)
    ours = {name: template()["Resources"][name] for name in ("Bucket", "BucketPolicy")}
    resources = clean_json(ours, stack.resource_map)
    settings = resources["Bucket"]["Properties"]
    access = settings["PublicAccessBlockConfiguration"]
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=access)
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=settings["OwnershipControls"])
    (rule,) = settings["LifecycleConfiguration"]["Rules"]
    abort = rule["AbortIncompleteMultipartUpload"]
    abort["DaysAfterInitiation"] = int(abort["DaysAfterInitiation"])  # parameters are text to moto
    rule = {"ID": rule.pop("Id"), "Filter": {}, **rule}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    policy = resources["BucketPolicy"]["Properties"]
    s3.put_bucket_policy(Bucket=policy["Bucket"], Policy=json.dumps(policy["PolicyDocument"]))


def read_back(s3: Any, bucket: str) -> dict[str, Any]:
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    return {
        "access": s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        "ownership": s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"],
        "encryption": [rule["ApplyServerSideEncryptionByDefault"] for rule in encryption["Rules"]],
        "lifecycle": s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
        "policy": json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"],
    }


def statements(policy_arn: str) -> list[dict[str, Any]]:
    iam = client("iam")
    version = iam.get_policy(PolicyArn=policy_arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=policy_arn, VersionId=version)["PolicyVersion"]["Document"]
    assert document["Version"] == "2012-10-17"
    return list(document["Statement"])


@pytest.fixture(scope="module")
def stack() -> Stack:
    return create_stack()


def as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def allows(policy: list[dict[str, Any]], action: str, resource: str, prefix: str | None = None) -> bool:
    """Whether one of the statements, all of which allow, fits the request as IAM would see it.

    Of conditions it knows the one that the policies use, which a request without a prefix never meets.
    """
    for statement in policy:
        assert statement["Effect"] == "Allow"
        condition = statement.get("Condition", {})
        assert condition.keys() <= {"StringLike"}
        likes = condition.get("StringLike", {})
        assert likes.keys() <= {"s3:prefix"}
        if (
            action in as_list(statement["Action"])
            and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
            and all(prefix is not None and fnmatchcase(prefix, like) for like in likes.values())
        ):
            return True
    return False


def actions(policy: list[dict[str, Any]]) -> list[str]:
    return [action for statement in policy for action in as_list(statement["Action"])]


def test_cfn_lint_says_nothing() -> None:
    assert lint_file(TEMPLATE) == []


def test_public_access_is_blocked_in_all_four_ways(stack: Stack) -> None:
    assert stack.settings["access"] == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }


def test_objects_belong_to_the_bucket_s_owner(stack: Stack) -> None:
    assert stack.settings["ownership"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


def test_objects_are_encrypted_with_keys_of_s3(stack: Stack) -> None:
    assert stack.settings["encryption"] == [{"SSEAlgorithm": "AES256"}]


def test_unfinished_uploads_are_aborted_and_nothing_else_expires(stack: Stack) -> None:
    (rule,) = stack.settings["lifecycle"]
    assert rule == {
        "ID": "abort-unfinished-uploads",
        "Filter": {},
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
    }


def test_whoever_comes_without_tls_is_refused_everything(stack: Stack) -> None:
    assert stack.settings["policy"] == [
        {
            "Sid": "DenyWithoutTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [stack.arn, f"{stack.arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]


@pytest.mark.parametrize("name", ["Bucket", "BucketPolicy"])
def test_the_bucket_outlives_its_stack(name: str) -> None:
    resource = template()["Resources"][name]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_policies_allow_exactly_these_actions(stack: Stack) -> None:
    assert sorted(actions(stack.write)) == sorted(WRITE_ACTIONS)
    assert sorted(actions(stack.read)) == sorted(READ_ACTIONS)


def test_the_policies_name_no_resource_but_the_bucket_and_the_prefix(stack: Stack) -> None:
    resources = {r for s in stack.write + stack.read for r in as_list(s["Resource"])}
    assert resources == {stack.arn, f"{stack.arn}/bigearthnet/*"}


@pytest.mark.parametrize("action", sorted(WRITE_ACTIONS - {"s3:ListBucket", "s3:ListBucketMultipartUploads"}))
def test_objects_may_be_written_below_the_prefix_only(stack: Stack, action: str) -> None:
    assert allows(stack.write, action, f"{stack.arn}/bigearthnet/tiles/images/a.zip")
    assert not allows(stack.write, action, f"{stack.arn}/bigearthnet-2/a.zip")
    assert not allows(stack.write, action, f"{stack.arn}/other")
    assert not allows(stack.write, action, "arn:aws:s3:::another-bucket/bigearthnet/a.zip")


def test_objects_may_be_listed_below_the_prefix_only(stack: Stack) -> None:
    for policy in (stack.write, stack.read):
        assert allows(policy, "s3:ListBucket", stack.arn, "bigearthnet/")
        # The name of a missing object is what S3 takes for the prefix when it decides between 404 and 403.
        assert allows(policy, "s3:ListBucket", stack.arn, "bigearthnet/dataset.json")
        for elsewhere in (None, "", "b", "bigearthnet", "bigearthnet-2/"):
            assert not allows(policy, "s3:ListBucket", stack.arn, elsewhere)
        assert not allows(policy, "s3:ListBucket", "arn:aws:s3:::another-bucket", "bigearthnet/")


def test_unfinished_uploads_may_be_listed_though_s3_tells_no_prefix(stack: Stack) -> None:
    assert allows(stack.write, "s3:ListBucketMultipartUploads", stack.arn)
    assert not allows(stack.write, "s3:ListBucketMultipartUploads", "arn:aws:s3:::another-bucket")


def test_who_fetches_may_read_and_not_write(stack: Stack) -> None:
    assert allows(stack.read, "s3:GetObject", f"{stack.arn}/bigearthnet/dataset.json")
    assert not allows(stack.read, "s3:GetObject", f"{stack.arn}/other")


def test_without_a_key_pair_there_is_no_host(stack: Stack) -> None:
    assert stack.outputs.keys() == {"BucketName", "Destination", "Region", "WritePolicyArn", "ReadPolicyArn"}
    of_host = [one for one in template()["Resources"].values() if "Condition" in one]
    assert sorted(one["Type"] for one in of_host) == [
        "AWS::EC2::Instance",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::Volume",
        "AWS::EC2::VolumeAttachment",
        "AWS::IAM::InstanceProfile",
        "AWS::IAM::Role",
    ]
    assert {one["Condition"] for one in of_host} == {"HasHost", "HasDataVolume"}


def test_the_outputs_say_where_datasets_go(stack: Stack) -> None:
    assert stack.outputs["Destination"] == f"s3://{stack.outputs['BucketName']}/bigearthnet"
    assert stack.outputs["Region"] == REGION


def test_name_prefix_and_days_are_the_person_s() -> None:
    stack = create_stack(BucketName="my-datasets", Prefix="maps/ben", AbortUploadsAfterDays="5")
    assert stack.outputs["Destination"] == "s3://my-datasets/maps/ben"
    (rule,) = stack.settings["lifecycle"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 5}
    for policy in (stack.write, stack.read):
        assert allows(policy, "s3:GetObject", "arn:aws:s3:::my-datasets/maps/ben/dataset.json")
        assert allows(policy, "s3:ListBucket", "arn:aws:s3:::my-datasets", "maps/ben/")
        assert not allows(policy, "s3:GetObject", "arn:aws:s3:::my-datasets/maps/other")
        assert not allows(policy, "s3:ListBucket", "arn:aws:s3:::my-datasets", "maps/")


@pytest.mark.parametrize(
    ("prefix", "taken"),
    [
        ("bigearthnet", True),
        ("maps/ben_v2.0-rgb", True),
        ("", False),
        ("maps/", False),
        ("/maps", False),
        ("maps//ben", False),
        ("*", False),
        ("ben?", False),
        ("${aws:username}", False),
        ("with space", False),
    ],
)
def test_a_prefix_is_a_path_without_wildcards(prefix: str, taken: bool) -> None:
    assert bool(re.fullmatch(allowed("Prefix"), prefix)) is taken


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("", True),
        ("my-datasets", True),
        ("abc", True),
        ("a" * 63, True),
        ("ab", False),
        ("a" * 64, False),
        ("My-datasets", False),
        ("my.datasets", False),
        ("-datasets", False),
        ("datasets-", False),
    ],
)
def test_a_bucket_s_name_fits_its_certificate(name: str, taken: bool) -> None:
    assert bool(re.fullmatch(allowed("BucketName"), name)) is taken
