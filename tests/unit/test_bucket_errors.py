import pytest
from bigearthnet.store.s3.errors import told
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from bigearthnet.errors import ChecksumError, DestinationError, SourceError, TransferError

URL = "s3://bucket/data/x"


def answer(code: str, status: int, operation: str = "PutObject", **more: str) -> ClientError:
    error = {"Code": code, "Message": "So it is.", **more}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("code", "status", "advice"),
    [
        ("InvalidAccessKeyId", 403, "check access key and secret key"),
        ("SignatureDoesNotMatch", 403, "check access key and secret key"),
        ("ExpiredToken", 400, "the credentials have expired, renew them"),
        ("AccessDenied", 403, "give these credentials the permission s3:PutObject there"),
        ("NoSuchBucket", 404, "create the bucket, or correct its name"),
        ("PermanentRedirect", 301, "give the credentials the region"),
        ("RequestTimeTooSkewed", 403, "set this machine's clock"),
        ("NotImplemented", 501, "see what the server says of PutObject"),
        ("EntityTooLarge", 400, "see what the server says of PutObject"),
    ],
)
@pytest.mark.parametrize("refusal", [DestinationError, SourceError])
def test_what_stays_refused_says_what_to_do(
    code: str, status: int, advice: str, refusal: type[DestinationError] | type[SourceError]
) -> None:
    message = rf"^expected to write {URL}, found {code} \(So it is\); {advice}"
    with pytest.raises(refusal, match=message) as caught, told("write", URL, refusal):
        raise answer(code, status)
    assert type(caught.value) is refusal


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("HeadObject", "s3:GetObject"),
        ("ListObjectsV2", "s3:ListBucket"),
        ("ListParts", "s3:ListMultipartUploadParts"),
        ("AbortMultipartUpload", "s3:AbortMultipartUpload"),
        ("UploadPartCopy", "s3:GetObject and s3:PutObject"),
        ("CompleteMultipartUpload", "s3:PutObject"),
    ],
)
def test_the_permission_is_that_of_the_request(operation: str, permission: str) -> None:
    with pytest.raises(DestinationError, match=rf"the permission {permission} "), told("write", URL):
        raise answer("403", 403, operation)


@pytest.mark.parametrize(
    ("code", "status"),
    [("SlowDown", 503), ("InternalError", 500), ("504", 504), ("RequestTimeout", 400), ("BadDigest", 400)],
)
def test_what_may_pass_is_worth_another_try(code: str, status: int) -> None:
    message = rf"write {URL}, found .*{code} \(So it is\); .* again"
    with pytest.raises(TransferError, match=message), told("write", URL):
        raise answer(code, status)


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="http://host"),
        ConnectionClosedError(endpoint_url="http://host"),
        ReadTimeoutError(endpoint_url="http://host"),
        ResponseStreamingError(error="it broke"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer_is_worth_another_try(error: Exception) -> None:
    message = rf"write {URL}, found no whole answer .*try again later"
    with pytest.raises(TransferError, match=message), told("write", URL):
        raise error


def test_an_answer_that_broke_off_in_its_head_is_worth_another_try() -> None:
    with pytest.raises(TransferError, match="found an answer without 'ETag'"), told("write", URL):
        raise KeyError("ETag")


@pytest.mark.parametrize("code", ["PreconditionFailed", "412"])
def test_another_edition_is_no_refusal(code: str) -> None:
    message = rf"write {URL}, found that it is another one now"
    with pytest.raises(ChecksumError, match=message), told("write", URL):
        raise answer(code, 412)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoCredentialsError(), "no usable credentials .*; give access key and secret key, or a role"),
        (NoRegionError(), "no region; give the credentials the region"),
        (ParamValidationError(report="a reason"), "cannot be asked for .*a reason"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_on_this_side_is_told(error: Exception, message: str) -> None:
    with (
        pytest.raises(SourceError, match=rf"write {URL}, found .*{message}"),
        told("write", URL, SourceError),
    ):
        raise error


def test_no_secret_goes_into_a_message() -> None:
    errors = [
        answer("ExpiredToken", 400, **{"Token-0": "SECRET"}),
        CredentialRetrievalError(provider="process", error_msg="SECRET"),
    ]
    for error in errors:
        with pytest.raises(DestinationError) as caught, told("write", URL):
            raise error
        assert "SECRET" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
