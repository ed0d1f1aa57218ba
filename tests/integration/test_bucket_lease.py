import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bigearthnet.store.s3.lock import hold
from bigearthnet.store.s3.objects import Bucket

from bigearthnet.errors import BusyError, DestinationError, TransferError
from tests.support.line import Line
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.integration
pytest_plugins = ("tests.support.s3_fixtures",)

HOLDER = textwrap.dedent(
    """
    import sys
    from bigearthnet.store.s3.objects import Bucket
    from bigearthnet.store.s3.lock import hold
    from bigearthnet.store.s3.place import parse_place
    from tests.support.s3_server import make_client

    url, access_key, secret_key, place = sys.argv[1:]
    with hold(Bucket(make_client(url, access_key, secret_key), parse_place(place)), "the-first"):
        print("held", flush=True)
        sys.stdin.read()
    """
)


@contextmanager
def another_process(server: S3Server, bucket: Bucket) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the bucket until its standard input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.url, server.access_key, server.secret_key, str(bucket.place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        yield child


def test_a_second_run_is_refused_while_the_first_lives(s3_server: S3Server, bucket: Bucket) -> None:
    with another_process(s3_server, bucket) as child:
        message = (
            rf"expected {bucket.place} to be free, found it held by run the-first \(process {child.pid} on "
        )
        with pytest.raises(BusyError, match=message), hold(bucket, "the-second"):
            pass
        assert child.stdin
        child.stdin.close()
        child.wait()
    assert bucket.head(".lock") is None
    with hold(bucket, "the-second"):
        assert bucket.head(".lock") is not None
    assert bucket.head(".lock") is None


def test_the_lock_of_a_killed_process_is_taken_over_at_once(s3_server: S3Server, bucket: Bucket) -> None:
    with another_process(s3_server, bucket) as child:
        child.kill()
        child.wait()
        assert bucket.head(".lock") is not None
        with hold(bucket, "the-second") as lease:
            lease.check()
            held = json.loads(bucket.read(".lock") or b"")
            assert held["run"] == "the-second"
    assert bucket.head(".lock") is None


def test_a_held_lock_is_refreshed(bucket: Bucket) -> None:
    seconds = iter(range(1000, 10**9))
    told = threading.Event()

    def clock() -> float:
        now = next(seconds)
        if now > 1010:
            told.set()
        return now

    with hold(bucket, "run", clock=clock, every_seconds=0.001, stale_after_seconds=10**9) as lease:
        assert told.wait(60)
        lease.check()
        held = json.loads(bucket.read(".lock") or b"")
        assert held["since"] == 1000
        assert held["refreshed"] > 1005
    assert bucket.head(".lock") is None


def test_who_cannot_refresh_for_too_long_has_lost(s3_server: S3Server, bucket: Bucket) -> None:
    now = [0.0]
    with Line(s3_server.port) as line:
        weak = Bucket(s3_server.client(url=line.url), bucket.place)
        with hold(weak, "run", clock=lambda: now[0], every_seconds=3600) as lease:
            line.break_all()
            now[0] = 599
            lease.check()
            now[0] = 600
            with pytest.raises(BusyError, match=r"expected run run to hold .* not refreshed for 600 s"):
                lease.check()
            assert lease.lost.is_set()


def test_errors_of_the_server_are_told(s3_server: S3Server, bucket: Bucket) -> None:
    stranger = Bucket(s3_server.client(s3_server.stranger_key, s3_server.stranger_secret), bucket.place)
    with pytest.raises(DestinationError, match="the permission s3:PutObject"), hold(stranger, "run"):
        pass
    with Line(s3_server.port) as line:
        line.break_all()
        weak = Bucket(s3_server.client(url=line.url), bucket.place)
        with pytest.raises(TransferError, match="no whole answer"), hold(weak, "run"):
            pass
