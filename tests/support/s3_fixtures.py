"""Fixtures of a real S3 server."""

import shutil
from collections.abc import Iterator

import pytest

from tests.support.places import BucketPlace, new_bucket
from tests.support.s3_server import S3Server, running


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The server, until the end of the session."""
    folder = tmp_path_factory.mktemp("swift")
    with running(folder) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)  # pytest keeps its folders, and this one is large


@pytest.fixture
def bucket(s3_server: S3Server) -> BucketPlace:
    """An empty bucket, and a prefix in it."""
    return new_bucket(s3_server.client())
