"""Parts of an object: S3's limits, what is known of each, and what they come to together."""

import base64
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIN_PART_BYTES: Final = 5 << 20
"""The least of any part but the last."""
MAX_PART_BYTES: Final = 5 << 30
"""The most of any part, and of an object that is put or copied at once."""
MAX_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is on the server."""

    size: int
    etag: str
    crc32: str | None
    """As the server writes it; None where it does not tell the checksum of what it copied."""


def ranges(start: int, stop: int, most: int = MAX_PART_BYTES) -> list[tuple[int, int]]:
    """Cut `start` to `stop` into as few ranges of at most `most` bytes as it takes, about equally long."""
    count = -(-(stop - start) // most)
    length = stop - start
    return [(start + length * i // count, start + length * (i + 1) // count) for i in range(count)]


def checksum(crc32: int) -> str:
    """A CRC-32 as S3 writes it: base64 of its four bytes, most significant first."""
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def whole_parts(listed: list[tuple[int, Part]], size: int, part_bytes: int) -> list[Part]:
    """The parts that an object of `size` bytes begins with, up to the first that is missing or not whole."""
    whole: list[Part] = []
    for expected, (number, part) in enumerate(listed, start=1):
        length = min(part_bytes, size - (expected - 1) * part_bytes)
        if (number, part.size) != (expected, length):
            break
        whole.append(part)
    return whole


def completed_part(number: int, part: Part) -> "CompletedPartTypeDef":
    """A part as S3 wants it named when its object is completed."""
    completed: CompletedPartTypeDef = {"PartNumber": number, "ETag": part.etag}
    if part.crc32 is not None:
        completed["ChecksumCRC32"] = part.crc32
    return completed


def composite(parts: list[Part]) -> str | None:
    """The CRC-32 of the parts' CRC-32s, as S3 makes it; None unless all are known.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    known = [part.crc32 for part in parts if part.crc32 is not None]
    if len(known) < len(parts):
        return None
    joined = b"".join(base64.b64decode(crc32) for crc32 in known)
    return f"{checksum(zlib.crc32(joined))}-{len(parts)}"
