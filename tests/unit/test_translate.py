from decimal import InvalidOperation
from pathlib import Path

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from prefect_aws.credentials import _get_client_cached

from bigearthnet.errors import BigEarthNetError, ChangedError, StoreError, TransferError
from bigearthnet.store.s3.translate import translate_errors
from tasks.connect import open_store

URL = "s3://bucket/data/x"


def response(code: str, status: int, operation: str = "PutObject", retries: int = 0) -> ClientError:
    error = {"Code": code, "Message": "So it is.", "Token-0": "SECRET"}
    metadata = {"HTTPStatusCode": status, "RetryAttempts": retries}
    return ClientError({"Error": error, "ResponseMetadata": metadata}, operation)  # type: ignore[typeddict-item]


def message_of(error: Exception, kind: type[BigEarthNetError]) -> str:
    with pytest.raises(kind) as caught, translate_errors("write", URL):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"cannot write {URL}: ")
    return str(caught.value).removeprefix(f"cannot write {URL}: ")


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("InvalidAccessKeyId", 403, "Check the access key and the secret key"),
        ("SignatureDoesNotMatch", 403, "Check the access key and the secret key"),
        ("ExpiredToken", 400, "The credentials have expired: renew them."),
        ("AccessDenied", 403, "Give these credentials the permission s3:PutObject there, or use other ones."),
        ("NoSuchBucket", 404, "Create the bucket, or correct its name."),
        ("PermanentRedirect", 301, "Set the region of the credentials to that of the bucket."),
        ("RequestTimeTooSkewed", 403, "Set this machine's clock."),
        ("NotImplemented", 501, "See what this server's manual says about PutObject."),
        ("EntityTooLarge", 400, "See what this server's manual says about PutObject."),
    ],
)
def test_a_refusal_says_what_to_do(code: str, status: int, advice: str) -> None:
    message = message_of(response(code, status), StoreError)
    assert message.startswith(f"S3 answered {code} (So it is). {advice}")


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("HeadObject", "s3:GetObject (and s3:ListBucket, for objects that are not there)"),
        ("ListMultipartUploads", "s3:ListBucketMultipartUploads"),
        ("UploadPartCopy", "s3:GetObject and s3:PutObject"),
        ("CompleteMultipartUpload", "s3:PutObject"),
    ],
)
def test_the_permission_is_that_of_the_request(operation: str, permission: str) -> None:
    message = message_of(response("403", 403, operation), StoreError)
    assert f"the permission {permission} there" in message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (response("SlowDown", 503, retries=9), "S3 answered SlowDown (So it is) 10 times. Try again later."),
        (response("InternalError", 500), "S3 answered InternalError (So it is). Try again later."),
        (response("TooManyRequests", 429), "S3 answered TooManyRequests (So it is). Try again later."),
        (response("RequestTimeout", 400), "S3 answered RequestTimeout (So it is). Try again later."),
        (response("BadDigest", 400), "S3 answered BadDigest (So it is). The bytes were damaged on their"),
        (EndpointConnectionError(endpoint_url="http://host"), "no whole response from S3 (Could not connect"),
        (ReadTimeoutError(endpoint_url="http://host"), "no whole response from S3 (Read timeout"),
        (ResponseStreamingError(error="it broke"), "no whole response from S3 ("),
        (KeyError("ETag"), "the response of S3 has no 'ETag'. Check the endpoint and the network, or try"),
        (ValueError("no\nday"), "the response of S3 is damaged (no day). Check the endpoint and the network"),
        (InvalidOperation("no date"), "the response of S3 is damaged (no date)."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_pass_is_worth_another_try(error: Exception, message: str) -> None:
    assert message_of(error, TransferError).startswith(message)


UNTRUSTED = SSLError(endpoint_url="https://host", error="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "nosuch", r"cannot open s3://bucket/x: .*\(nosuch\).* Correct AWS_PROFILE"),
        (
            "AWS_CONFIG_FILE",
            "{path}/broken",
            "cannot open s3://bucket/x: the request .*broken",
        ),
        ("AWS_ENDPOINT_URL", "nosuch", r"settings of S3: Invalid endpoint: nosuch\. Correct the endpoint"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "nosuch", "cannot open s3://bucket/x: .*nosuch.* Correct"),
    ],
)
def test_settings_that_boto3_cannot_use_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    _get_client_cached.cache_clear()
    (tmp_path / "broken").write_text("[default")
    monkeypatch.setenv(name, value.format(path=tmp_path))
    with pytest.raises(BigEarthNetError, match=message):
        open_store("s3://bucket/x", "")


@pytest.mark.parametrize("code", ["PreconditionFailed", "412", "NoSuchKey"])
def test_another_version_is_no_refusal(code: str) -> None:
    message = message_of(response(code, 412), ChangedError)
    assert message == f"it was replaced or removed meanwhile: S3 answered {code} (So it is). Run again."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoCredentialsError(), "there are no usable credentials (NoCredentialsError). Give an access key"),
        (NoRegionError(), "there is no region. Set the region"),
        (ParamValidationError(report="a reason"), "the request is not possible (Parameter validation"),
        (UNTRUSTED, "there is no secure connection (SSL validation failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_on_this_side_is_said(error: BotoCoreError, message: str) -> None:
    assert message_of(error, StoreError).startswith(message)


@pytest.mark.parametrize(
    "error",
    [
        response("ExpiredToken", 400),
        CredentialRetrievalError(provider="process", error_msg="SECRET"),
        EndpointConnectionError(endpoint_url="https://user:SE/CRET@host/x?token=SECRET"),
        ParamValidationError(report="https://host/x?token=SECRET is no endpoint"),
        response("Odd\n\x1b[2J\x9b", 400),
    ],
)
def test_no_secret_goes_into_a_message(error: Exception) -> None:
    with pytest.raises(BigEarthNetError) as caught, translate_errors("write", URL):
        raise error
    assert "CRET" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
