"""Errors of S3 and botocore, in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from bigearthnet.errors import BigEarthNetError, ChangedError, StoreError, TransferError, plain
from bigearthnet.store.s3_url import hide_secrets

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList; a HEAD has no body,
# so botocore gives its status as the code.
_PASSING: Final = frozenset({"RequestTimeout", "OperationAborted"})
_DAMAGED: Final = frozenset(
    {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
)
ABSENT: Final = frozenset({"NoSuchKey", "404"})
_NOT_MET: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
_DENIED: Final = frozenset({"AccessDenied", "AllAccessDisabled", "Forbidden", "401", "403"})

_KEYS: Final = "Check the access key and the secret key, and that they belong to this server"
_EXPIRED: Final = "The credentials have expired: renew them"
_REGION: Final = "Set the region of the credentials to that of the bucket"
_ADVICE: Final = {
    "NoSuchBucket": "Create the bucket, or correct its name",
    "InvalidBucketName": "Correct the bucket's name",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "Set this machine's clock",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "NoSuchUpload": "Another program removed the unfinished upload: run again",
}

# All other operations need s3:PutObject.
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
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
}

_NO_CREDENTIALS: Final = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.NoAuthTokenError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
_CERTIFICATE: Final = (
    "If the server, or a proxy of your network, has a certificate of its own, set AWS_CA_BUNDLE to it"
)
_NOT_PARSED: Final = (ResponseParserError, ValueError, ArithmeticError, RuntimeError)
"""What botocore raises for XML, numbers and dates that are none."""
_NETWORK: Final = "Check the endpoint and the network, or try again later"


@contextmanager
def translate_errors(verb: str, url: str) -> Iterator[None]:
    """Translate botocore errors that are raised in the block, which does `verb` to `url`.

    The block has the request and what is taken from its response, no more. The URL is `s3://bucket/key`.

    Raises:
        StoreError: refused; the message says what to do.
        TransferError: no whole response, or the bytes were damaged on their way.
        ChangedError: the object was replaced or removed.
    """
    kind: type[BigEarthNetError] = StoreError
    try:
        yield
        return
    except ClientError as error:
        kind, reason, advice = _answered(error)
    except _NO_CREDENTIALS as error:
        # Its kind alone: what a helper program says about credentials may hold some.
        reason = f"there are no usable credentials ({type(error).__name__})"
        advice = "Give an access key and a secret key, or a role"
    except exceptions.ProfileNotFound as error:
        reason, advice = plain(error), "Correct AWS_PROFILE, or make it by `aws configure --profile`"
    except exceptions.NoRegionError:
        reason, advice = "there is no region", _REGION
    except exceptions.SSLError as error:
        kind = StoreError if "CERTIFICATE_VERIFY_FAILED" in str(error) else TransferError
        reason, advice = f"there is no secure connection ({plain(error)})", _CERTIFICATE
    except (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError) as error:
        kind, reason, advice = TransferError, f"no whole response from S3 ({plain(error)})", _NETWORK
    except KeyError as error:  # a response that broke off among its headers
        kind, reason, advice = TransferError, f"the response of S3 has no {error}", _NETWORK
    except exceptions.BotoCoreError as error:
        reason = f"the request is not possible ({plain(error)})"
        advice = "Correct the settings of the credentials, and AWS's own (AWS_* and ~/.aws)"
    except BigEarthNetError:
        raise
    except _NOT_PARSED as error:
        kind, reason, advice = TransferError, f"the response of S3 is damaged ({plain(error)})", _NETWORK
    # Without its cause: the response in it can hold a session token.
    raise kind(f"cannot {verb} {url}: {hide_secrets(reason)}. {advice}.") from None


def error_code(error: ClientError) -> str:
    """The code of a response, such as `NoSuchKey`; for a HEAD the status, such as `404`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: ClientError) -> tuple[type[BigEarthNetError], str, str]:
    code, metadata = error_code(error), error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    said = plain(str(error.response.get("Error", {}).get("Message", ""))).rstrip(". ")
    reason = f"S3 answered {plain(code) or status}" + (f" ({said})" if said else "")
    if code in _DAMAGED:
        return TransferError, reason, "The bytes were damaged on their way: run again"
    if code in ABSENT | _NOT_MET:
        return ChangedError, f"it was replaced or removed meanwhile: {reason}", "Run again"
    if code in _PASSING or status == 429 or (status >= 500 and status != 501):
        tries = int(metadata.get("RetryAttempts", 0)) + 1
        return TransferError, f"{reason} {tries} times" if tries > 1 else reason, "Try again later"
    if code in _DENIED:
        permission = _PERMISSIONS.get(error.operation_name, "s3:PutObject")
        advice = f"Give these credentials the permission {permission} there, or use other ones"
        if code.isdecimal():  # of a HEAD, which does not say if the keys are wrong
            advice = f"Check the keys, and that they have the permission {permission} there"
        return StoreError, reason, advice
    manual = f"See what this server's manual says about {error.operation_name}"
    return StoreError, reason, _ADVICE.get(code, manual)
