from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session

from bigearthnet.errors import StoreError
from bigearthnet.store.s3 import S3Store
from tests.support.places import moto_place


def signing(**more: Any) -> S3Store:
    """A store whose client has credentials and asks nobody."""
    keys = {"aws_access_key_id": "anybody", "aws_secret_access_key": "a secret", "region_name": "eu-west-1"}
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    arguments: Any = {"config": config, **keys, **more}
    return S3Store(boto3.client("s3", **arguments), "bucket", "data")


def test_a_link_names_bucket_region_and_object_and_how_it_is_saved() -> None:
    url = signing().presign("x", 12, "Graubünden.zip")
    assert url.startswith("https://bucket.s3.eu-west-1.amazonaws.com/data/x?")
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["720"]
    assert query["response-content-disposition"] == ["attachment; filename*=utf-8''Graub%C3%BCnden.zip"]
    assert "response-content-disposition" not in signing().presign("x", 1, "")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"config": Config(signature_version="s3")}, "cannot sign .*s3://bucket/data/x: .* other than 4"),
        ({"aws_access_key_id": None, "aws_secret_access_key": None}, "there are no usable credentials"),
    ],
)
def test_what_cannot_be_signed_is_said(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], message: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(StoreError, match=message):
        signing(**more).presign("x", 1, "")


def test_the_region_is_the_buckets() -> None:
    with moto_place() as place:
        assert place.open().region() == "us-east-1"
        client = boto3.client("s3", region_name="eu-central-1")
        client.create_bucket(Bucket="there", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        place.bucket = "there"
        assert place.open().region() == "eu-central-1"

        headers = {"x-amz-bucket-region": "eu-west-3"}

        def refuse(**_: Any) -> Any:
            metadata = {"HTTPStatusCode": 403, "HTTPHeaders": headers}
            error = {"Error": {"Code": "403"}, "ResponseMetadata": metadata}
            return type("Raw", (), {"status_code": 403}), error

        place.client.meta.events.register("before-call.s3.HeadBucket", refuse)
        assert place.open().region() == "eu-west-3"
        headers.clear()
        assert place.open().region() is None


def test_refreshable_credentials_say_when_they_end_and_lasting_ones_never() -> None:
    end = datetime.now(UTC) + timedelta(hours=6)
    session = get_session()
    session._credentials = RefreshableCredentials(  # type: ignore[attr-defined]
        "anybody", "a secret", "t0ken", end, refresh_using=dict, method="a role"
    )
    client = boto3.Session(botocore_session=session).client("s3", region_name="eu-west-1")
    assert S3Store(client, "bucket", "").credentials_end() == end
    assert signing().credentials_end() is None
