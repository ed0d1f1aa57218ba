"""What an S3 server or botocore says, in the project's words: refused, damaged, changed, or no answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 (botocore calls it so)
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from bigearthnet.errors import BigEarthNetError, ChecksumError, DestinationError, SourceError, TransferError

Refusal = type[DestinationError] | type[SourceError]
"""The error for a server that says no: it depends on whether the bucket is written to or read from."""

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList; a HEAD has no body,
# so botocore gives its status for a code.
_AGAIN: Final = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestThrottled", "TooManyRequests", "429"}
    | {"RequestTimeout", "OperationAborted", "BandwidthLimitExceeded"}
)
_DAMAGED: Final = frozenset(
    {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
)
_CHANGED: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_NO_RIGHT: Final = frozenset({"AccessDenied", "AllAccessDisabled", "Forbidden", "401", "403"})

_CREDENTIALS: Final = "check access key and secret key of the credentials, and that they are of this server"
_EXPIRED: Final = "the credentials have expired, renew them"
_REGION: Final = "give the credentials the region that the bucket is in"
_GONE: Final = "it is not there, or not any more; check the name, or run again"
_ADVICE: Final = {
    "NoSuchBucket": "create the bucket, or correct its name",
    "InvalidBucketName": "correct the bucket's name",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "NoSuchKey": _GONE,
    "404": _GONE,
}

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_PERMISSIONS: Final = {
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject (and s3:ListBucket, for objects that are not there)",
    "GetObject": "s3:GetObject (and s3:ListBucket, for objects that are not there)",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
}
_WRITING: Final = "s3:PutObject"  # what all other operations used here need

_NO_CREDENTIALS: Final = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    NoAuthTokenError,
    SSOError,
    TokenRetrievalError,
)
_NO_ANSWER: Final = (ConnectionError, HTTPClientError, IncompleteReadError)


@contextmanager
def told(verb: str, url: str, refusal: Refusal = DestinationError) -> Iterator[None]:
    """Let errors of botocore out of the block as the project's own.

    Args:
        verb: what the block does to `url`, such as "write". In the block are the request and what is taken
            from its answer, no more.
        url: the object or bucket as `s3://bucket/key`; no presigned URL.
        refusal: error for a server that refuses, or a bucket that is not there.

    Raises:
        DestinationError, SourceError: refused (whichever `refusal` is); the message says what to do.
        TransferError: no answer, or none to the end, or the bytes were damaged on their way.
        ChecksumError: the object is not the one any more that the request was about.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        # Without the error: the answer it holds can hold a session token.
        raise translated(error, verb, url, refusal) from None
    except KeyError as error:
        # An answer that breaks off among its headers counts as one with fewer of them.
        raise TransferError(
            f"expected to {verb} {url}, found an answer without {error}; "
            "check the endpoint and the network, try again later"
        ) from error


def error_code(error: ClientError) -> str:
    """The code of an answer, such as `NoSuchKey`; of a HEAD its status, such as `404`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def translated(
    error: ClientError | BotoCoreError, verb: str, url: str, refusal: Refusal = DestinationError
) -> BigEarthNetError:
    """The project's error for one of botocore's; `told` describes the arguments."""
    if isinstance(error, ClientError):
        kind, found, advice = _answer(error, refusal)
    else:
        kind, found, advice = _local(error, refusal)
    return kind(f"expected to {verb} {url}, found {found}; {advice}")


def _answer(error: ClientError, refusal: Refusal) -> tuple[type[BigEarthNetError], str, str]:
    code = error_code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = str(error.response.get("Error", {}).get("Message", "")).rstrip(". ")
    found = f"{code} ({said})" if said else code or f"status {status}"
    if code in _DAMAGED:
        return TransferError, found, "the bytes were damaged on their way, run again"
    if code in _CHANGED:
        return ChecksumError, f"that it is another one now: {found}", "somebody else writes there; run again"
    if code in _AGAIN or (status >= 500 and status != 501):
        return TransferError, f"no use of several tries: {found}", "the server has trouble, try again later"
    return refusal, found, _advice(code, error.operation_name)


def _advice(code: str, operation: str) -> str:
    if code in _NO_RIGHT:
        return (
            f"give these credentials the permission {_PERMISSIONS.get(operation, _WRITING)} there, "
            "or check that they are the right ones"
        )
    return _ADVICE.get(code, f"see what the server says of {operation}")


def _local(error: BotoCoreError, refusal: Refusal) -> tuple[type[BigEarthNetError], str, str]:
    if isinstance(error, _NO_CREDENTIALS):
        # Only its kind: what a helper program says of credentials may hold some.
        found = f"no usable credentials ({type(error).__name__})"
        return refusal, found, "give access key and secret key, or a role"
    if isinstance(error, NoRegionError):
        return refusal, "no region", _REGION
    if isinstance(error, _NO_ANSWER):
        advice = "check the endpoint and the network, try again later"
        return TransferError, f"no whole answer ({error})", advice
    return refusal, f"that it cannot be asked for ({' '.join(str(error).split())})", "correct it"
