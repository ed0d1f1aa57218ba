"""Runs into a bucket that are refused, broken or overtaken, and what they send."""

import threading
from pathlib import Path
from typing import Any

import pytest

import tasks.connect
import tasks.publish
from bigearthnet.errors import CredentialsError, StoreError, TransferError
from tests.support.line import Line
from tests.support.published import IMAGES_ZIP, MASKS_ZIP, Published
from tests.support.record_server import RecordServer
from tests.support.runs import Home, save_block
from tests.support.s3_server import S3Server
from tests.support.sample import make_sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]


def test_credentials_that_do_not_suffice(
    s3_server: S3Server, server: RecordServer, bucket_home: Home
) -> None:
    stranger = {
        "aws_access_key_id": s3_server.stranger_key,
        "aws_secret_access_key": s3_server.stranger_secret,
    }
    for block, error, said in (
        (
            save_block(s3_server, aws_secret_access_key="wrong"),  # noqa: S106
            StoreError,
            "Check the keys",
        ),
        (save_block(s3_server, **stranger), StoreError, "permission s3:"),
        ("nobody", CredentialsError, "'nobody'"),
    ):
        with pytest.raises(error, match=said):
            bucket_home.prepare(server.record_url, aws_credentials=block)
    assert (server.requests, bucket_home.place.files()) == ([], {})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "nobody", r"cannot open s3://bucket: .*\(nobody\).*Correct AWS_PROFILE"),
        ("AWS_ENDPOINT_URL", "nowhere", "Invalid endpoint: nowhere. Correct the endpoint"),
        ("AWS_CONFIG_FILE", "config", "Unable to parse config file: .*config"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config").write_text("[")
    monkeypatch.setenv(name, value)
    with pytest.raises((CredentialsError, StoreError), match=message):
        tasks.connect.open_store("s3://bucket", "")


def test_what_was_sent_before_the_line_broke_is_not_made_again_on_another_machine(
    s3_server: S3Server,
    server: RecordServer,
    bucket_home: Home,
    *,
    undisturbed: Published,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Line(s3_server.port) as line:

        def break_when_a_tile_is_there() -> None:
            place, found = bucket_home.place, dict[str, Any]()
            while sum(one["Key"].endswith("tile.json") for one in found.get("Contents", [])) < 2:
                found = place.client.list_objects_v2(Bucket=place.bucket, Prefix=f"{place.prefix}/.tiles/")
            line.break_all()

        thread = threading.Thread(target=break_when_a_tile_is_there)
        thread.start()
        with pytest.raises(TransferError):
            bucket_home.prepare(server.record_url, aws_credentials=save_block(s3_server, url=line.url))
        thread.join()
    bucket_home.place.client.delete_object(
        Bucket=bucket_home.place.bucket, Key=f"{bucket_home.place.prefix}/.lock"
    )  # it could not be removed through the broken line
    caplog.clear()
    caplog.set_level("INFO")
    bucket_home.beside(tmp_path / "another").prepare(server.record_url)
    assert "(0 finished before)" not in caplog.text
    assert bucket_home.sha256() == undisturbed
    assert bucket_home.place.unfinished() == []


def test_large_shards_are_sent_once_and_joined_on_the_server(
    bucket_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0
    make = tasks.connect.s3_client

    def count(request: Any, **_: object) -> None:
        nonlocal sent
        if ".trial" not in request.url:
            sent += int(request.headers.get("Content-Length", 0))

    def counting(*arguments: Any, **options: Any) -> Any:
        client = make(*arguments, **options)
        client.meta.events.register("before-send.s3", count)
        return client

    monkeypatch.setattr(tasks.connect, "s3_client", counting)
    large = make_sample(tmp_path / "large", 280)
    bucket_home.prepare(large.folder)
    sizes = {name: len(data) for name, data in bucket_home.files().items()}
    assert sizes[MASKS_ZIP] < 5 << 20 < sizes[IMAGES_ZIP], "the server copies parts of 5 MiB or more"
    assert sent < 1.06 * (sum(sizes.values()) + sizes[MASKS_ZIP])
