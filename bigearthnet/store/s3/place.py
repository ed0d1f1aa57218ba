"""Where in a bucket something lies, and what a bucket says of an object."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bigearthnet.errors import DestinationError, SourceError
from bigearthnet.source.old.answers import without_secrets

_SCHEME: Final = "s3://"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET_RE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX_LIMIT_BYTES: Final = 900  # a key has 1,024 at most, our longest name 70


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which bucket; `prefix` has no slash at its ends, and is empty for the bucket itself."""

    bucket: str
    prefix: str

    def key(self, name: str) -> str:
        """The key of the object of that name."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def url(self, name: str) -> str:
        """The object of that name for a person, `s3://bucket/prefix/name`."""
        return f"{_SCHEME}{self.bucket}/{self.key(name)}"

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it: name below the prefix, size in bytes, ETag with its quotes."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Stored(Listed):
    """An object with its metadata."""

    metadata: Mapping[str, str]


def parse_place(url: str, refusal: type[DestinationError] | type[SourceError] = DestinationError) -> Place:
    """Take `s3://bucket/prefix` apart; slashes at the end do not count.

    Args:
        url: what a person wrote.
        refusal: what to raise.

    Raises:
        DestinationError, SourceError: it is of another form, or no bucket can have that name.
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
        raise refusal(
            f"expected a place like s3://bucket/prefix, found {without_secrets(url)!r}; a bucket's name has "
            "3 to 63 lower-case letters, digits, dots and hyphens, a prefix no empty, '.' or '..' piece"
        )
    return Place(bucket, prefix)
