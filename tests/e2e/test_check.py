"""The checks at the start of runs, and the flow that makes them alone."""

from pathlib import Path
from typing import Any

import pytest

import tasks.connect
from bigearthnet.errors import ArchiveError, StoreError
from flows.check import check
from tests.support.archives import IMAGES, linked, replace
from tests.support.record_server import RECORD, RecordServer
from tests.support.runs import Home
from tests.support.sample import Sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]

MIB = 1 << 20


def on_each_client(monkeypatch: pytest.MonkeyPatch, event: str, handler: Any) -> None:
    """Let every S3 client from now on call a handler of botocore; the same client may be made twice."""
    make = tasks.connect.s3_client

    def registered(*arguments: Any, **options: Any) -> Any:
        client = make(*arguments, **options)
        client.meta.events.register(event, handler, unique_id="once")
        return client

    monkeypatch.setattr(tasks.connect, "s3_client", registered)


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_a_check_leaves_nothing_and_fetches_the_first_bytes_alone(
    server: RecordServer, any_home: Home, transfer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    state = check(source=server.record_url, transfer=transfer, **any_home.options, return_state=True)
    assert state.name == "Ready"
    assert any_home.url in str(state.message)
    assert any_home.files() == {}
    assert any_home.place.unfinished() == []
    assert [request.name for request in server.requests] == [RECORD]
    assert server.first_bytes == [IMAGES]
    for said in ("installation correct", "to be stored", "can be written", "4 files", "md5s known"):
        assert said in caplog.text
    assert ("joins parts" in caplog.text) is any_home.url.startswith("s3:")


def test_a_server_that_cannot_join_is_found_before_anything_is_fetched(
    server: RecordServer, bucket_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ignore(params: dict[str, Any], **_: Any) -> None:
        params.pop("CopySourceRange", None)

    on_each_client(monkeypatch, "provide-client-params.s3.UploadPartCopy", ignore)
    for flow in (bucket_home.prepare, lambda source: check(source=source, **bucket_home.options)):
        with pytest.raises(StoreError, match="needs parts of different lengths"):
            flow(server.record_url)
    assert [request.name for request in server.requests] == [RECORD] * 2
    assert bucket_home.files() == {}


def test_a_wrong_archive_is_found_before_it_is_fetched(sample: Sample, home: Home, tmp_path: Path) -> None:
    record = linked(sample.folder, tmp_path / "record")
    replace(record / IMAGES, b"<html>no archive</html>")
    with RecordServer(record) as server:
        with pytest.raises(ArchiveError, match="not zstd"):
            home.prepare(server.record_url)
        assert [request.name for request in server.requests] == [RECORD]


def test_a_dataset_that_is_there_is_not_checked_by_an_upload(
    server: RecordServer, bucket_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    on_each_client(
        monkeypatch,
        "before-send.s3",
        lambda request, **_: sizes.append(int(request.headers.get("Content-Length", 0))),
    )

    def sent(**parameters: Any) -> int:
        sizes.clear()
        bucket_home.prepare(server.record_url, selection={"max_patches": 2}, **parameters)
        return sum(sizes)

    assert sent() > 5 * MIB
    assert sent() < MIB // 64
    assert sent(rendering={"mask_classes": "clc_l1"}) > 5 * MIB
