"""Runs into a bucket that are refused, broken, killed or in each other's way."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bigearthnet.store.s3 import lock as bucket_lock
from bigearthnet.store.s3.objects import Bucket

from bigearthnet.errors import BusyError, CredentialsError, DestinationError, TransferError
from bigearthnet.sample.archives import Sample
from tests.support.line import Line
from tests.support.published import Published, require_whole
from tests.support.record_server import RecordServer
from tests.support.runs import Place, observed, start
from tests.support.s3_dataset import Home, save_block
from tests.support.s3_server import S3Server
from tests.support.zygote import Kill, Zygote

pytestmark = pytest.mark.e2e
pytest_plugins = ("tests.support.s3_fixtures",)

KILLED = -signal.SIGKILL
OTHER = {"stretch": "minmax", "mask_classes": "clc_l1"}


@pytest.fixture
def home(s3_server: S3Server, bucket: Bucket) -> Home:
    return Home.of(s3_server, bucket)


@pytest.fixture(scope="module")
def zygote(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote") / "log") as zygote:
        yield zygote


def test_a_wrong_secret_is_refused(s3_server: S3Server, sample: Sample, place: Place, bucket: Bucket) -> None:
    home = Home.of(s3_server, bucket, secret_key="wrong")  # noqa: S106
    message = f"expected to .* {home.url}.*SignatureDoesNotMatch.*check access key and secret key"
    with pytest.raises(DestinationError, match=message):
        start(sample.folder, place, **home.parameters)
    assert home.names(hidden=True) == []


def test_somebody_without_the_right_to_write_is_refused(
    s3_server: S3Server, sample: Sample, place: Place, bucket: Bucket
) -> None:
    stranger = {"access_key": s3_server.stranger_key, "secret_key": s3_server.stranger_secret}
    home = Home.of(s3_server, bucket, **stranger)
    message = rf"expected to write {home.url}/.lock, found AccessDenied.*the permission s3:PutObject there"
    with pytest.raises(DestinationError, match=message):
        start(sample.folder, place, **home.parameters)
    assert home.names(hidden=True) == []


def test_a_missing_bucket_is_named(s3_server: S3Server, sample: Sample, place: Place, home: Home) -> None:
    with pytest.raises(DestinationError, match=r"s3://no-such-bucket/.*NoSuchBucket.*create the bucket"):
        start(sample.folder, place, destination="s3://no-such-bucket/data", aws_credentials=home.block)


def test_a_missing_block_is_named(sample: Sample, place: Place, home: Home) -> None:
    with pytest.raises(CredentialsError, match="expected a block AwsCredentials of the name 'nobody'"):
        start(sample.folder, place, destination=home.url, aws_credentials="nobody")


@pytest.mark.parametrize("destination", ["s3:/bucket", "s3://", "s3://UPPER/x", "gs://bucket/x"])
def test_what_is_no_place_is_refused(sample: Sample, place: Place, home: Home, destination: str) -> None:
    if destination == "s3:/bucket":
        destination = "s3://bucket//x"
    with pytest.raises(DestinationError, match="expected a place like s3://bucket/prefix"):
        start(sample.folder, place, destination=destination, aws_credentials=home.block)


def test_a_second_run_is_refused_while_the_first_is_on(sample: Sample, place: Place, home: Home) -> None:
    with bucket_lock.hold(home.bucket, "the nightly one"):
        message = f"expected {home.url} to be free, found it held by run the nightly one .*wait until"
        with pytest.raises(BusyError, match=message):
            start(sample.folder, place, **home.parameters)
    start(sample.folder, place, **home.parameters)
    assert home.is_published()


def test_a_lease_that_is_lost_stops_the_run_before_it_publishes(
    sample: Sample, place: Place, home: Home
) -> None:
    start(sample.folder, place, **home.parameters)
    before = home.published()
    taken = threading.Event()

    def take_over() -> None:
        """Write another's lock over it, as soon as it is there."""
        while not taken.wait(0.01):
            if home.bucket.head(".lock") is not None:
                home.bucket.write(".lock", b'{"run": "another"}')
                return

    thread = threading.Thread(target=take_over)
    thread.start()
    try:
        with pytest.raises(BusyError, match=f"expected run .* to hold {home.url} until its end"):
            start(sample.folder, place, rendering=OTHER, **home.parameters)
    finally:
        taken.set()
        thread.join()
    assert home.published() == before


def test_an_upload_that_breaks_is_gone_on_with_by_the_next_run(
    s3_server: S3Server, server: RecordServer, place: Place, home: Home, undisturbed: Published
) -> None:
    with Line(s3_server.port) as line:
        broken = {**home.parameters, "aws_credentials": save_block(s3_server, url=line.url)}

        def cut_when_a_tile_is_there() -> None:
            while not any(name.startswith(".tiles") for name in home.names(hidden=True)):
                pass
            line.break_all()

        thread = threading.Thread(target=cut_when_a_tile_is_there)
        thread.start()
        with pytest.raises(TransferError, match=r"expected to .* found no whole answer"):
            start(server.record_url, place, **broken)
        thread.join()
    home.bucket.delete([".lock"])  # it could not be removed through the broken line
    start(server.record_url, place, **home.parameters)
    assert home.published() == undisturbed
    assert home.unfinished_uploads() == []


@pytest.mark.parametrize(
    "request_line",
    [
        r"PUT .*\.tiles/.*/images\.zip",
        r"PUT .*\.tiles/.*/done\.json",
        r"PUT .*bigearthnet_mask_pngs\.zip\?.*partNumber=1",
        r"POST .*bigearthnet_mask_pngs\.zip\?uploadId",
        r"PUT .*tiles/images/.*\.zip",
        r"PUT .*/dataset\.json",
        r"DELETE .*\.lock",
    ],
)
def test_killed_at_any_request_the_next_run_ends_as_an_undisturbed_one(
    zygote: Zygote,
    server: RecordServer,
    place: Place,
    *,
    home: Home,
    undisturbed: Published,
    request_line: str,
    tmp_path: Path,
) -> None:
    zygote.begin(server.record_url, place, Kill(request=request_line), **home.parameters)
    assert zygote.end() == KILLED
    if home.is_published():
        require_whole(home.bring(tmp_path / "left"))
    start(server.record_url, Place.below(tmp_path / "another"), **home.parameters)
    assert home.published() == undisturbed
    assert home.unfinished_uploads() == []
    assert not [name for name in home.names(hidden=True) if name.startswith(".tiles") and ".zip" in name]


@pytest.mark.parametrize("request_line", [r"PUT .*\.tiles/", r"PUT .*partNumber=1"])
def test_killed_before_the_swap_the_old_dataset_is_there(
    zygote: Zygote, sample: Sample, place: Place, home: Home, request_line: str
) -> None:
    start(sample.folder, place, **home.parameters)
    before = home.published()
    zygote.begin(str(sample.folder), place, Kill(request=request_line), rendering=OTHER, **home.parameters)
    assert zygote.end() == KILLED
    assert home.published() == before


def test_killed_in_the_swap_no_mixture_is_published(
    zygote: Zygote, sample: Sample, place: Place, home: Home
) -> None:
    start(sample.folder, place, **home.parameters)
    kill = Kill(request=r"POST .*bigearthnet_mask_pngs\.zip\?uploadId")
    zygote.begin(str(sample.folder), place, kill, rendering=OTHER, **home.parameters)
    assert zygote.end() == KILLED
    assert not home.is_published()
    start(sample.folder, place, rendering=OTHER, **home.parameters)
    assert home.is_published()
    assert home.unfinished_uploads() == []


def test_tiles_that_a_killed_run_sent_are_neither_made_nor_sent_again_on_another_machine(
    zygote: Zygote, server: RecordServer, place: Place, *, home: Home, sample: Sample, tmp_path: Path
) -> None:
    third = sample.tiles[2]
    zygote.begin(
        server.record_url,
        place,
        Kill(request=rf"PUT .*\.tiles/{third}.*/images\.zip"),
        transfer="stream",
        **home.parameters,
    )
    assert zygote.end() == KILLED
    another = Place.below(tmp_path / "another")
    runs = observed(server.record_url, another, transfer="stream", **home.parameters)
    assert runs.named("extract") == runs.named("upload") == sorted(sample.tiles[2:])
    folder = Place.below(tmp_path / "folder")
    start(server.record_url, folder)
    assert home.published() == Published.read(folder.destination)


def test_cancelled_in_an_upload_nothing_is_left_half_done(
    zygote: Zygote, server: RecordServer, place: Place, home: Home
) -> None:
    process = zygote.begin(server.record_url, place, **home.parameters)
    while not any(name.startswith(".tiles") for name in home.names(hidden=True)):
        pass
    os.kill(process, signal.SIGTERM)
    assert zygote.end() != 0
    assert home.unfinished_uploads() == []
    assert not home.is_published()
