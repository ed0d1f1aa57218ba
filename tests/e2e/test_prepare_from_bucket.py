"""From a bucket: a mirror gives what the record gives, archives alone what a folder gives."""

from pathlib import Path

import pytest
from bigearthnet.store.s3.objects import Bucket
from prefect_aws import AwsCredentials
from pydantic import SecretStr

from bigearthnet.errors import CredentialsError, SourceError
from bigearthnet.sample.archives import Sample
from flows.mirror import mirror
from tests.support.archives import IMAGES, MAPS
from tests.support.published import Published, read_card
from tests.support.record_server import RecordServer
from tests.support.runs import Place, observed, start
from tests.support.s3_server import REGION, S3Server

pytestmark = pytest.mark.e2e
pytest_plugins = ("tests.support.s3_fixtures",)


@pytest.fixture(autouse=True)
def credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 finds by itself."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.fixture
def mirrored(server: RecordServer, bucket: Bucket) -> str:
    """A mirror of the record, which can be asked no more."""
    mirror(source=server.record_url, destination=str(bucket.place))
    server.requests.clear()
    return str(bucket.place)


def fill(bucket: Bucket, folder: Path) -> None:
    for path in folder.iterdir():
        bucket.upload(path, path.name)


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_a_mirror_gives_what_the_record_gives(
    mirrored: str, server: RecordServer, place: Place, undisturbed: Published, transfer: str
) -> None:
    start(mirrored, place, transfer=transfer)
    assert Published.read(place.destination) == undisturbed
    assert server.requests == []
    assert bool(place.files(f"**/{IMAGES}")) is (transfer == "keep")


def test_what_was_made_of_the_record_is_found_again(
    mirrored: str, server: RecordServer, place: Place, undisturbed: Published
) -> None:
    start(server.record_url, place)
    runs = observed(mirrored, place)
    assert runs.named("extract") == []
    assert set(runs.of("convert")) <= {"Cached"}
    assert Published.read(place.destination) == undisturbed


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_archives_without_a_record_give_what_a_folder_gives(
    bucket: Bucket, sample: Sample, tmp_path: Path, place: Place, transfer: str
) -> None:
    fill(bucket, sample.folder)
    start(str(bucket.place), place, transfer=transfer)
    local = Place.below(tmp_path / "local")
    start(sample.folder, local)
    assert Published.read(place.destination) == Published.read(local.destination)
    verifications = {file["verification"] for file in read_card(place.destination)["source"]["files"]}
    assert verifications == {"md5 computed, none to compare with"}


def test_a_bucket_without_an_archive_fails_at_once(bucket: Bucket, sample: Sample, place: Place) -> None:
    fill(bucket, sample.folder)
    bucket.delete([MAPS])
    with pytest.raises(SourceError, match=rf"expected {MAPS} in {bucket.place}, found {IMAGES}, metadata"):
        start(str(bucket.place), place)


def test_a_place_that_is_none_is_a_source_that_is_none(place: Place) -> None:
    with pytest.raises(SourceError, match=r"expected a place like s3://bucket/prefix, found 's3://A/b'"):
        start("s3://A/b", place)


def test_credentials_that_are_not_there_are_told(mirrored: str, place: Place) -> None:
    with pytest.raises(CredentialsError, match="expected a block AwsCredentials of the name 'nobody'"):
        start(mirrored, place, aws_credentials="nobody")


def test_a_stranger_is_told_what_permission_is_missing(
    mirrored: str, s3_server: S3Server, place: Place
) -> None:
    AwsCredentials(
        aws_access_key_id=s3_server.stranger_key,
        aws_secret_access_key=SecretStr(s3_server.stranger_secret),
    ).save("stranger", overwrite=True)
    with pytest.raises(SourceError, match=rf"read {mirrored}/record.json, .* the permission s3:GetObject"):
        start(mirrored, place, aws_credentials="stranger")
