"""Fixtures of a real S3 server."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import pytest

from tests.support.places import BucketPlace, new_bucket
from tests.support.s3_server import S3Server, running


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server, until the end of the session."""
    with TemporaryDirectory(prefix="swift-", dir=_memory()) as folder, running(Path(folder)) as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> BucketPlace:
    """An empty bucket, and a prefix in it."""
    return new_bucket(s3_server.client())


def _memory() -> str | None:
    """A folder in memory, which is twice as fast as a disk, if files there can have extended attributes."""
    memory = "/dev/shm"  # noqa: S108
    with suppress(OSError), NamedTemporaryFile(dir=memory) as file:
        os.setxattr(file.name, "user.test", b"1")
        return memory
    return None
