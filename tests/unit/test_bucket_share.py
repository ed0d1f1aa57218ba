import logging
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Place
from bigearthnet.store.s3.share import (
    Link,
    credentials_end,
    disposition,
    life_of,
    links_as_markdown,
    links_path,
    region_of,
    sign,
    write_links,
)
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.session import get_session

from bigearthnet.errors import DestinationError, SourceError, TransferError
from tests.support.moto_bucket import moto_bucket

PLACE = Place("bucket", "data")
NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
V4 = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials but those that a test gives."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


@pytest.fixture
def moto() -> Iterator[Bucket]:
    with moto_bucket() as bucket:
        yield bucket


def signing(**more: Any) -> Bucket:
    """A bucket whose client has credentials, and asks nobody."""
    keys = {"aws_access_key_id": "anybody", "aws_secret_access_key": "a secret", "region_name": "eu-west-1"}
    arguments: Any = {"config": V4, **keys, **more}
    return Bucket(boto3.client("s3", **arguments), PLACE, SourceError)


def link(signed_at: datetime = NOON, seconds: int = 3600, more: str = "") -> Link:
    when = signed_at.strftime("%Y%m%dT%H%M%SZ")
    return Link("x", f"https://host/x?X-Amz-Date={when}&X-Amz-Expires={seconds}&X-Amz-Signature=5ec2e7{more}")


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_link_names_object_region_and_end() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    (found,) = sign(signing(), ["tiles/images/x.zip"], 720, "")
    after = datetime.now(UTC)
    parts, asked = urlsplit(found.url), query(found.url)
    assert (parts.scheme, parts.netloc) == ("https", "bucket.s3.eu-west-1.amazonaws.com")
    assert parts.path == "/data/tiles/images/x.zip"
    assert asked["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert asked["X-Amz-Credential"].split("/")[2:] == ["eu-west-1", "s3", "aws4_request"]
    assert asked["X-Amz-Expires"] == str(12 * 60 * 60)
    assert "response-content-disposition" not in asked
    assert before + 12 * HOUR <= found.ends_at <= after + 12 * HOUR


def test_one_file_is_saved_under_the_name_of_several_each_has_its_own() -> None:
    names = ["a.zip", "tiles/images/x.zip", "tiles/masks/x.zip"]
    saved = [query(link.url)["response-content-disposition"] for link in sign(signing(), names, 1, "alps")]
    assert saved == [
        f'attachment; filename="alps-{name}"' for name in ("a.zip", "tiles-images-x.zip", "tiles-masks-x.zip")
    ]
    (one,) = sign(signing(), names[:1], 1, "alps.zip")
    assert query(one.url)["response-content-disposition"] == 'attachment; filename="alps.zip"'


def test_a_name_beyond_ascii_is_encoded_as_rfc_6266_wants_it() -> None:
    assert disposition("Graubünden.zip") == "attachment; filename*=utf-8''Graub%C3%BCnden.zip"


def test_without_credentials_nothing_is_signed() -> None:
    bucket = signing(aws_access_key_id=None, aws_secret_access_key=None)
    with pytest.raises(
        SourceError, match="expected to sign a link to s3://bucket/data/x, found no usable cr"
    ):
        sign(bucket, ["x"], 1, "")


def test_another_version_of_signatures_is_refused() -> None:
    with pytest.raises(
        SourceError, match="expected to sign a link to s3://bucket/data/x by version 4, found"
    ):
        sign(signing(config=Config(signature_version="s3")), ["x"], 1, "")


def test_a_link_shows_its_secret_to_no_log() -> None:
    assert "5ec2e7" in link().url
    assert "5ec2e7" not in f"{link()} {link()!r} {[link()]}"


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_the_region_is_the_buckets(moto: Bucket, region: str) -> None:
    client = boto3.client("s3", region_name=region)
    more: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region[:2] == "eu" else {}
    client.create_bucket(Bucket="there", **more)
    assert region_of(Bucket(moto.client, Place("there", "data"))) == region


def test_a_refusal_says_the_region_too(moto: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Any:
        raise moto.client.exceptions.ClientError(
            {
                "Error": {"Code": "403"},
                "ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-west-3"}},  # type: ignore[typeddict-item]
            },
            "HeadBucket",
        )

    monkeypatch.setattr(moto.client, "head_bucket", refuse)
    assert region_of(moto) == "eu-west-3"


def test_a_server_that_is_no_amazons_is_not_asked_for_a_region() -> None:
    assert region_of(signing(endpoint_url="http://127.0.0.1:1")) is None
    assert region_of(signing(endpoint_url="http://127.0.0.1:1/s3.amazonaws.com")) is None


def test_a_server_that_does_not_answer_is_worth_another_try() -> None:
    bucket = signing(
        region_name=None, config=Config(proxies={"https": "http://127.0.0.1:1"}, retries={"max_attempts": 0})
    )
    with pytest.raises(
        TransferError, match="expected to find the region of s3://bucket/data, found no whole"
    ):
        region_of(bucket)


def test_links_of_lasting_credentials_end_when_they_say() -> None:
    assert link().ends_at == NOON + HOUR
    life = life_of([link(seconds=7200), link()], None)
    assert (life.ends_at, life.warning) == (NOON + HOUR, "")


SESSION = "&X-Amz-Security-Token=t0ken"


def test_links_end_with_the_session_they_are_signed_in() -> None:
    session_end = NOON + timedelta(minutes=20)
    life = life_of([link(more=SESSION)], session_end)
    assert life.ends_at == session_end
    assert "end at 2026-01-31 12:20:00 UTC, and end with them, not at 2026-01-31 13:00:00 UTC" in life.warning
    assert "t0ken" not in life.warning


def test_a_session_that_outlives_the_links_needs_no_warning() -> None:
    life = life_of([link(more=SESSION)], NOON + HOUR)
    assert (life.ends_at, life.warning) == (NOON + HOUR, "")


def test_a_session_of_unknown_end_is_warned_of() -> None:
    life = life_of([link(more=SESSION)], None)
    assert life.ends_at == NOON + HOUR
    assert "do not say when they end; links end with them, which may be before 2026-01-31 13" in life.warning


def test_refreshable_credentials_say_when_they_end_and_lasting_ones_never() -> None:
    end = datetime.now(UTC) + 6 * HOUR
    session = get_session()
    session._credentials = RefreshableCredentials(  # type: ignore[attr-defined]
        "anybody", "a secret", "t0ken", end, refresh_using=dict, method="a role"
    )
    client = boto3.Session(botocore_session=session).client("s3", region_name="eu-west-1", config=V4)
    assert credentials_end(client) == end
    assert credentials_end(signing().client) is None
    (signed,) = sign(Bucket(client, PLACE), ["x"], 1, "")
    assert signed.is_of_a_session
    assert not sign(signing(), ["x"], 1, "")[0].is_of_a_session


def test_the_file_of_links_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "links.txt"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    with path.open() as reader:
        write_links(path, PLACE, [link()], NOON)
        assert reader.read() == "old", "whoever may read the old file must not see the new one through it"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [link().url]
    assert lines[0] == "# Links to files of s3://bucket/data. They end at 2026-01-31 12:00:00 UTC."
    assert [entry.name for entry in path.parent.iterdir()] == ["links.txt"]


def test_the_folder_of_the_links_is_made(tmp_path: Path) -> None:
    write_links(tmp_path / "a/b/links.txt", PLACE, [link()], NOON)
    assert link().url in (tmp_path / "a/b/links.txt").read_text()


def test_links_that_cannot_be_written_are_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(DestinationError, match=r"to write the links to .*/file/links\.txt, found: ") as caught,
    ):
        write_links(tmp_path / "file/links.txt", PLACE, [link()], NOON)
    assert "5ec2e7" not in str(caught.value) + caplog.text


@pytest.mark.parametrize("text", ["", " ", "s3://bucket/links.txt", "~", "/tmp"])  # noqa: S108
def test_what_is_no_file_is_refused(text: str) -> None:
    with pytest.raises(DestinationError, match=r"expected a file for the links, such as ~/links\.txt, found"):
        links_path(text)


def test_a_file_is_found_below_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert links_path("~/links.txt") == tmp_path / "links.txt"


def test_markdown_has_each_link_under_its_name() -> None:
    text = links_as_markdown(PLACE, [link()], NOON)
    assert f"- [x]({link().url})" in text.splitlines()
    assert "until 2026-01-31 12:00:00 UTC" in text
