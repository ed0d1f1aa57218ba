"""URLs of prefixes in buckets, `s3://bucket/prefix`."""

import re
from typing import Final

from bigearthnet.errors import StoreError

_SCHEME: Final = "s3://"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET_RE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX_LIMIT_BYTES: Final = 900  # a key has at most 1,024, our longest name 100


def names_bucket(text: str) -> bool:
    """True for a URL of a bucket, also a misspelt one such as `s3:/bucket`, which is no folder either."""
    return text.strip().lower().startswith("s3:")


def parse_s3_url(url: str) -> tuple[str, str]:
    """Split `s3://bucket/prefix` into bucket and prefix; the prefix has no slash at its ends.

    Raises:
        StoreError: it has another form, or no bucket can have that name.
    """
    bucket, _, prefix = url.removeprefix(_SCHEME).partition("/")
    prefix = prefix.rstrip("/")
    usable = (
        url.startswith(_SCHEME)
        and _BUCKET_RE.fullmatch(bucket)
        and ".." not in bucket
        and prefix.isprintable()
        and len(prefix.encode()) <= _PREFIX_LIMIT_BYTES
        and (not prefix or not {"", ".", ".."} & set(prefix.split("/")))
    )
    if not usable:
        raise StoreError(
            f"cannot use {hide_secrets(url)!r}: it is not of the form s3://bucket/prefix. A bucket's name "
            "has 3 to 63 lower-case letters, digits, dots and hyphens, and no part of a prefix is empty, "
            "'.' or '..'."
        )
    return bucket, prefix


def hide_secrets(text: str) -> str:
    """Remove user, password and query from the URLs in a text."""
    return re.sub(r"(/[^\s?\"']*)\?[^\s\"']*", r"\1", re.sub(r"(:/+)\S*@", r"\1", text))
