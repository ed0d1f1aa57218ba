"""Runs on the workers of a Dask cluster: the same bytes as on one machine, whatever becomes of a worker."""

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from bigearthnet.errors import InstallationError, TransferError
from bigearthnet.work.workspace import Workspace
from tasks.cluster import connected
from tests.support.dask_workers import workers
from tests.support.line import Line
from tests.support.published import Published
from tests.support.record_server import RecordServer
from tests.support.runs import DEADLINE_SECONDS, Home
from tests.support.s3_server import REGION, S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]


def keys(server: S3Server, url: str) -> dict[str, str]:
    """What boto3 finds by itself, as with a role of the machine."""
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": REGION,
    }


@pytest.fixture
def broken_line(s3_server: S3Server) -> Iterator[Line]:
    """A line that lets the images of a tile pass, and nothing that follows."""
    with Line(s3_server.port) as line:
        line.holds = b"/rows.parquet"
        yield line


def test_one_of_two_workers_that_share_only_a_bucket_is_killed(
    s3_server: S3Server,
    broken_line: Line,
    server: RecordServer,
    bucket_home: Home,
    undisturbed: Published,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in keys(s3_server, s3_server.url).items():
        monkeypatch.setenv(name, value)
    held = []
    through_line, direct = keys(s3_server, broken_line.url), keys(s3_server, s3_server.url)
    with workers(tmp_path / "cluster", through_line, direct) as (address, (first, second)):

        def kill_in_the_middle() -> None:
            held.append(broken_line.held.wait(4 * DEADLINE_SECONDS))
            first.kill()

        thread = threading.Thread(target=kill_in_the_middle, daemon=True)
        thread.start()
        options = {"runner": "dask", "dask_scheduler": address, "transfer": "stream", "aws_credentials": ""}
        bucket_home.prepare(server.record_url, **options)
        thread.join()
        assert held == [True]
        assert first.wait() == -signal.SIGKILL
        with connected("dask", address, "", Workspace(tmp_path)) as cluster:
            assert cluster is not None
            assert cluster.waiting == 2, "a tile in its only thread, and one that waits for it"
        assert second.poll() is None
    assert bucket_home.sha256() == undisturbed, "also: no bundle and no tile is left"
    bucket_home.prepare(server.record_url)
    assert bucket_home.place.unfinished() == []


def test_a_cluster_that_cannot_be_used_is_an_error_at_the_start(
    server: RecordServer, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(TransferError, match=r"cannot reach the Dask scheduler tcp://127\.0\.0\.1:1: "),
    ):
        home.prepare(server.record_url, runner="dask", dask_scheduler="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(InstallationError, match="needs the extra dask"):
        home.prepare(server.record_url, runner="dask")
    assert server.requests == []
