"""The stack without a host: its bucket, its policies and its parameters."""

import re
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from cfnlint.api import lint_file  # type: ignore[import-untyped]
from moto import mock_aws

from tests.support.stack import REGION, TEMPLATE, client, create, properties, template

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")

BUCKET = "arn:aws:s3:::my-datasets"
READ_ACTIONS = ["s3:GetObject", "s3:ListBucket"]
WRITE_ACTIONS = [
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    *READ_ACTIONS,
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
]
Policies = dict[str, list[dict[str, Any]]]


@cache
@mock_aws
def create_policies(**parameters: str) -> Policies:
    """Create the stack; returns the statements of both policies as IAM stores them."""
    outputs = create(BucketName="my-datasets", **parameters)
    iam = client("iam")
    policies = {}
    for name in ("Read", "Write"):
        arn = outputs[f"{name}PolicyArn"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"]
        policies[name] = list(document["Statement"])
    return policies


def as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def allows(policy: list[dict[str, Any]], action: str, resource: str, prefix: str | None = None) -> bool:
    """Evaluate a request as IAM would, with the one condition that the policies use."""
    for statement in policy:
        condition = statement.get("Condition", {"StringLike": {}})
        likes = condition["StringLike"]
        assert (statement["Effect"], len(condition), likes.keys() <= {"s3:prefix"}) == ("Allow", 1, True)
        if (
            action in as_list(statement["Action"])
            and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
            and all(prefix is not None and fnmatchcase(prefix, like) for like in likes.values())
        ):
            return True
    return False


def test_cfn_lint_finds_nothing() -> None:
    assert lint_file(TEMPLATE) == []


@pytest.mark.parametrize("resource", ["Bucket", "BucketPolicy", "LogBucket", "LogBucketPolicy", "DataVolume"])
def test_data_outlives_the_stack(resource: str) -> None:
    found = template()["Resources"][resource]
    assert (found["DeletionPolicy"], found["UpdateReplacePolicy"]) == ("Retain", "Retain")


@pytest.mark.parametrize("bucket", ["Bucket", "LogBucket"])
def test_the_buckets_are_private_and_encrypted(bucket: str) -> None:
    found = properties(bucket)
    assert found["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"], True
    )
    assert found["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (encryption,) = found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}


def test_without_options_the_bucket_drops_unfinished_uploads_only() -> None:
    found = properties("Bucket")
    assert not {"VersioningConfiguration", "LoggingConfiguration"} & found.keys()
    (rule,) = found["LifecycleConfiguration"]["Rules"]
    abort = {"DaysAfterInitiation": {"Ref": "AbortUploadsAfterDays"}}
    assert rule == {"Id": rule["Id"], "Status": "Enabled", "AbortIncompleteMultipartUpload": abort}
    assert template()["Parameters"]["AbortUploadsAfterDays"]["Default"] == 2


@pytest.mark.parametrize("bucket", ["Bucket", "LogBucket"])
def test_the_buckets_deny_everything_without_tls(bucket: str) -> None:
    found = properties(f"{bucket}Policy")
    assert found["Bucket"] == {"Ref": bucket}
    statement = found["PolicyDocument"]["Statement"][0]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    arn = {"Fn::GetAtt": [bucket, "Arn"]}
    assert statement["Resource"] == [arn, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_earlier_versions_are_kept_for_some_days_if_asked_for() -> None:
    conditions = template()["Conditions"]
    assert conditions["HasVersions"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "KeepVersionsDays"}, 0]}]}
    assert template()["Parameters"]["KeepVersionsDays"]["Default"] == 0
    found = properties("Bucket", "HasVersions")
    assert found["VersioningConfiguration"] == {"Status": "Enabled"}
    _, rule = found["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpiredObjectDeleteMarker"]) == ("Enabled", True)
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": {"Ref": "KeepVersionsDays"}}
    # Who publishes replaces and deletes objects, but no earlier version: a wrong run can be undone.
    assert not [action for action in WRITE_ACTIONS if "Version" in action]


def test_requests_are_logged_in_another_bucket_if_asked_for() -> None:
    conditions = template()["Conditions"]
    assert conditions["HasAccessLog"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "AccessLogDays"}, 0]}]}
    assert template()["Parameters"]["AccessLogDays"]["Default"] == 0
    found = properties("Bucket", "HasAccessLog")
    assert found["LoggingConfiguration"] == {"DestinationBucketName": {"Ref": "LogBucket"}}
    (rule,) = properties("LogBucket")["LifecycleConfiguration"]["Rules"]
    assert rule == {"Id": rule["Id"], "Status": "Enabled", "ExpirationInDays": {"Ref": "AccessLogDays"}}
    _, allow = properties("LogBucketPolicy")["PolicyDocument"]["Statement"]
    assert (allow["Effect"], allow["Action"]) == ("Allow", "s3:PutObject")
    assert allow["Principal"] == {"Service": "logging.s3.amazonaws.com"}
    assert allow["Resource"] == {"Fn::Sub": "${LogBucket.Arn}/*"}
    assert allow["Condition"] == {
        "ArnLike": {"aws:SourceArn": {"Fn::GetAtt": ["Bucket", "Arn"]}},
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
    }


@mock_aws
def test_the_bucket_of_the_log_is_created_and_named_if_asked_for() -> None:
    outputs = create(BucketName="my-datasets", KeepVersionsDays="30", AccessLogDays="90")
    names = {bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]}
    assert names == {"my-datasets", outputs["LogBucketName"]}


def test_the_policies_name_only_what_is_needed() -> None:
    for name, actions in (("Read", READ_ACTIONS), ("Write", WRITE_ACTIONS)):
        policy = create_policies()[name]
        assert sorted(action for one in policy for action in as_list(one["Action"])) == sorted(actions)
        resources = {resource for one in policy for resource in as_list(one["Resource"])}
        assert resources == {BUCKET, f"{BUCKET}/bigearthnet/*"}


@pytest.mark.parametrize("prefix", ["bigearthnet", "maps/ben"])
def test_the_policies_end_at_the_prefix(prefix: str) -> None:
    found = create_policies() if prefix == "bigearthnet" else create_policies(Prefix=prefix)
    for name, actions in (("Read", READ_ACTIONS), ("Write", WRITE_ACTIONS)):
        policy = found[name]
        for action in (action for action in actions if not action.startswith("s3:ListBucket")):
            assert allows(policy, action, f"{BUCKET}/{prefix}/dataset.json")
            for elsewhere in (f"{BUCKET}/{prefix}-2/a.zip", f"{BUCKET}/other", f"{BUCKET}-2/{prefix}/a.zip"):
                assert not allows(policy, action, elsewhere)
        # S3 takes the key of a missing object as the prefix when it decides between 404 and 403.
        for below in (f"{prefix}/", f"{prefix}/dataset.json"):
            assert allows(policy, "s3:ListBucket", BUCKET, below)
            assert not allows(policy, "s3:ListBucket", f"{BUCKET}-2", below)
        for beside in (None, "", "b", prefix, f"{prefix}-2/"):
            assert not allows(policy, "s3:ListBucket", BUCKET, beside)
        assert allows(policy, "s3:ListBucketMultipartUploads", BUCKET) is (name == "Write")


@mock_aws
def test_without_a_key_pair_there_is_no_host() -> None:
    outputs = create(BucketName="my-datasets")
    assert outputs.keys() == {"BucketName", "Destination", "Region", "WritePolicyArn", "ReadPolicyArn"}
    assert (outputs["Destination"], outputs["Region"]) == ("s3://my-datasets/bigearthnet", REGION)
    conditions = {name: resource.get("Condition") for name, resource in template()["Resources"].items()}
    always = ["Bucket", "BucketPolicy", "ReadPolicy", "WritePolicy"]
    with_host = ["Instance", "Profile", "Role", "SecurityGroup"]
    assert conditions == {
        **dict.fromkeys(always, None),
        **dict.fromkeys(["LogBucket", "LogBucketPolicy"], "HasAccessLog"),
        **dict.fromkeys(with_host, "HasHost"),
        **dict.fromkeys(["DataVolume", "DataVolumeAttachment"], "HasDataVolume"),
    }


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("Prefix", "bigearthnet maps/ben_v2.0-rgb", " maps/ /maps maps//ben * ben? ${aws:username} a\tb"),
        ("BucketName", f" my-datasets abc {'a' * 63}", f"ab {'a' * 64} My-datasets my.datasets -data data-"),
        ("SshAddress", " 203.0.113.7/32", "203.0.113.0/24 0.0.0.0/0 203.0.113.7"),
        ("Image", " ami-0123456789abcdef0", "ubuntu ami-"),
        (
            "Repository",
            "https://example.org/a/fork.git",
            " http://example.org/a https://user:token@example.org/fork https://example.org/$(reboot)",
        ),
        ("Ref", "v1.2 main feature/a", " main;reboot --upload-pack=x a\tb"),
    ],
)
def test_parameters_are_narrow(parameter: str, good: str, bad: str) -> None:
    """A space separates the values, so that a leading one stands for the empty value."""
    pattern = template()["Parameters"][parameter]["AllowedPattern"]
    assert [value for value in good.split(" ") if not re.fullmatch(pattern, value)] == []
    assert [value for value in bad.split(" ") if re.fullmatch(pattern, value)] == []
