"""The flow mirror as a person runs it."""

import json
import logging
from pathlib import Path

import pytest
from bigearthnet.store.s3.lock import hold
from bigearthnet.store.s3.objects import Bucket
from prefect_aws import AwsClientParameters, AwsCredentials
from pydantic import SecretStr

from bigearthnet.errors import BusyError, ChecksumError, DestinationError, SourceError
from bigearthnet.sample.archives import Sample
from flows.mirror import mirror
from tests.support.archives import IMAGES, MAPS
from tests.support.record_server import Fault, RecordServer
from tests.support.s3_server import REGION, S3Server

pytestmark = pytest.mark.e2e
pytest_plugins = ("tests.support.s3_fixtures",)

BLOCK = "mirror-tests"


@pytest.fixture(autouse=True)
def block(prefect_server: None, s3_server: S3Server) -> None:
    AwsCredentials(
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=SecretStr(s3_server.secret_key),
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=s3_server.url),
    ).save(BLOCK, overwrite=True)


def names(bucket: Bucket) -> list[str]:
    return [found.name for found in bucket.listing()]


def uploads(bucket: Bucket) -> list[str]:
    answer = bucket.client.list_multipart_uploads(Bucket=bucket.place.bucket)
    return [upload["Key"] for upload in answer.get("Uploads", [])]


def require_whole(bucket: Bucket, folder: Path) -> None:
    files = sorted(path.name for path in folder.iterdir())
    assert names(bucket) == sorted([*files, "record.json"])
    for name in files:
        assert bucket.read(name) == (folder / name).read_bytes()
    assert uploads(bucket) == []


def test_a_record_is_mirrored_once(
    server: RecordServer, bucket: Bucket, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    size = sum(path.stat().st_size for path in sample.folder.iterdir())
    expected = {"destination": str(bucket.place), "files": 4, "bytes_sent": size}
    with caplog.at_level(logging.INFO):
        assert mirror(server.record_url, str(bucket.place), BLOCK) == expected
    require_whole(bucket, sample.folder)
    for name in server.names():
        assert f"{name}: there, " in caplog.text
    server.requests.clear()
    assert mirror(server.record_url, str(bucket.place), BLOCK) == expected | {"bytes_sent": 0}
    assert {request.name for request in server.requests} == {"record"}


def test_a_file_that_fails_is_tried_again_by_its_task(
    server: RecordServer, bucket: Bucket, sample: Sample
) -> None:
    server.faults[IMAGES] = [Fault(break_after=1000), *[Fault(status=503)] * 3]  # patience has two tries
    mirror(server.record_url, str(bucket.place), BLOCK)
    assert [request.status for request in server.requests_for(IMAGES)] == [200, 503, 503, 503, 200]
    require_whole(bucket, sample.folder)


def test_wrong_bytes_are_fetched_once_more(server: RecordServer, bucket: Bucket, sample: Sample) -> None:
    server.faults[IMAGES] = [Fault(flip=2000)]
    mirror(server.record_url, str(bucket.place), BLOCK)
    assert [request.status for request in server.requests_for(IMAGES)] == [200, 200]
    require_whole(bucket, sample.folder)


def test_a_wrong_md5_is_no_mirror(server: RecordServer, bucket: Bucket) -> None:
    server.checksums[MAPS] = f"md5:{'0' * 32}"
    with pytest.raises(
        ChecksumError, match=rf"expected {MAPS} with md5 0{{32}}, found .* is aborted, run again"
    ):
        mirror(server.record_url, str(bucket.place), BLOCK)
    assert not {"record.json", MAPS, ".lock"} & set(names(bucket))
    assert uploads(bucket) == []


def test_a_folder_is_mirrored(bucket: Bucket, sample: Sample) -> None:
    mirror(str(sample.folder), str(bucket.place), BLOCK)
    require_whole(bucket, sample.folder)
    assert json.loads(bucket.read("record.json") or b"")["kind"] == "folder"


def test_a_mirror_can_be_mirrored(server: RecordServer, bucket: Bucket, sample: Sample) -> None:
    mirror(server.record_url, str(bucket.place), BLOCK)
    mirror(str(bucket.place), f"{bucket.place}-2", BLOCK)
    copy = Bucket(bucket.client, type(bucket.place)(bucket.place.bucket, f"{bucket.place.prefix}-2"))
    require_whole(copy, sample.folder)
    assert copy.read("record.json") == bucket.read("record.json")


def test_a_place_that_another_run_holds_is_not_touched(server: RecordServer, bucket: Bucket) -> None:
    with (
        hold(bucket, "the-first"),
        pytest.raises(BusyError, match=f"expected {bucket.place} to be free, found it held by run the-first"),
    ):
        mirror(server.record_url, str(bucket.place), BLOCK)
    assert (names(bucket), server.requests) == ([], [])


def test_a_folder_is_no_destination(server: RecordServer, tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="expected a place like s3://bucket/prefix, found"):
        mirror(server.record_url, str(tmp_path), BLOCK)


def test_the_sample_must_be_made_first(bucket: Bucket) -> None:
    with pytest.raises(
        SourceError, match="found 'sample', which is made in a work folder; prepare the sample"
    ):
        mirror("sample", str(bucket.place), BLOCK)
