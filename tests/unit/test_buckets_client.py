"""Clients by the name of a block, or by what boto3 finds."""

from collections.abc import Iterator
from typing import Any

import pytest
from bigearthnet.source.old.http import Patience
from prefect_aws import AwsClientParameters, AwsCredentials
from tasks.buckets import open_bucket, s3_client

from bigearthnet.errors import CredentialsError, DestinationError, SourceError
from tasks import policy

ENDPOINT = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing but what a test puts there."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(policy, "PATIENCE", Patience(connect_seconds=3, stall_seconds=4, tries=2))
    _forget_clients()
    yield
    _forget_clients()


def _forget_clients() -> None:
    """prefect-aws keeps clients for a process, with the credentials of the environment as it was."""
    from prefect_aws.credentials import _get_client_cached  # noqa: PLC0415

    _get_client_cached.cache_clear()


def save(name: str, **block: Any) -> None:
    keys: Any = {"aws_access_key_id": "of the block", "aws_secret_access_key": "a secret"}
    AwsCredentials(**keys, **block).save(name, overwrite=True)


def signed(client: Any) -> str:
    url: str = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "data/x"})
    return url


def test_without_a_block_boto3_finds_credentials() -> None:
    url = signed(s3_client(""))
    assert url.startswith("https://bucket.s3.eu-west-1.amazonaws.com/data/x?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert "of%20the%20machine%2F" in url
    assert "%2Feu-west-1%2Fs3%2F" in url


def test_another_region_is_signed_for() -> None:
    url = signed(s3_client("", region="ap-south-1"))
    assert url.startswith("https://bucket.s3.ap-south-1.amazonaws.com/data/x?")
    assert "%2Fap-south-1%2Fs3%2F" in url


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_a_server_named_by_the_environment_has_buckets_in_the_path(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, ENDPOINT)
    assert signed(s3_client("")).startswith(f"{ENDPOINT}/bucket/data/x?X-Amz-Algorithm=AWS4-HMAC-SHA256")


def test_a_block_brings_server_and_keys(prefect_server: None) -> None:
    save("elsewhere", region_name="there", aws_client_parameters=AwsClientParameters(endpoint_url=ENDPOINT))
    url = signed(s3_client("elsewhere"))
    assert url.startswith(f"{ENDPOINT}/bucket/data/x?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert "of%20the%20block%2F" in url
    assert "%2Fthere%2Fs3%2F" in url


def test_what_a_block_configures_goes_before(prefect_server: None) -> None:
    config = {"s3": {"addressing_style": "virtual"}, "read_timeout": 77}
    where = AwsClientParameters(endpoint_url="http://host.invalid", config=config)
    save("configured", region_name="there", aws_client_parameters=where)
    client = s3_client("configured")
    assert signed(client).startswith("http://bucket.host.invalid/data/x?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert (client.meta.config.read_timeout, client.meta.config.connect_timeout) == (77, 3)  # type: ignore[attr-defined]


def test_a_client_has_the_patience_of_the_house() -> None:
    config: Any = s3_client("").meta.config
    assert (config.connect_timeout, config.read_timeout) == (3, 4)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}


def test_a_block_that_is_not_there_is_named(prefect_server: None) -> None:
    message = r"expected a block AwsCredentials of the name 'nobody', found none .*; save one"
    with pytest.raises(CredentialsError, match=message):
        s3_client("nobody")


def test_a_bucket_is_opened_by_its_place() -> None:
    bucket = open_bucket("s3://bucket/data/", "", SourceError)
    assert (bucket.place.bucket, bucket.place.prefix, bucket.refusal) == ("bucket", "data", SourceError)
    assert open_bucket("s3://bucket", "").refusal is DestinationError
    with pytest.raises(DestinationError, match="expected a place like s3://bucket/prefix, found 'bucket'"):
        open_bucket("bucket", "")
