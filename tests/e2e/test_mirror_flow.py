"""A record copied into a bucket, and a dataset prepared from there."""

from pathlib import Path

import pytest

from bigearthnet.errors import BusyError, CredentialsError, SourceError, SpaceError
from bigearthnet.source import parallel
from bigearthnet.work import space
from flows.mirror import mirror
from tests.support.archives import IMAGES, MAPS, linked
from tests.support.places import BucketPlace
from tests.support.published import Published
from tests.support.record_server import RECORD, RecordServer
from tests.support.runs import Home, save_block
from tests.support.s3_server import S3Server
from tests.support.sample import Sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]

DESCRIPTION = "record.json"


@pytest.fixture
def block(s3_server: S3Server) -> str:
    return save_block(s3_server)


def url(bucket: BucketPlace) -> str:
    return bucket.open().url


def require_whole(bucket: BucketPlace, folder: Path) -> None:
    found = {name: data for name, data in bucket.files().items() if not name.startswith(".")}
    assert found.keys() == {*(path.name for path in folder.iterdir()), DESCRIPTION}
    assert all(found[path.name] == path.read_bytes() for path in folder.iterdir())
    assert bucket.unfinished() == []


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_a_mirror_is_made_once_and_gives_what_the_record_gives(
    server: RecordServer,
    bucket: BucketPlace,
    *,
    block: str,
    home: Home,
    sample: Sample,
    undisturbed: Published,
    transfer: str,
) -> None:
    done = mirror(server.record_url, url(bucket), aws_credentials=block)
    size = sum(path.stat().st_size for path in sample.folder.iterdir())
    assert done == {"destination": url(bucket), "files": 4, "bytes_sent": size}
    require_whole(bucket, sample.folder)
    server.requests.clear()
    assert mirror(server.record_url, url(bucket), aws_credentials=block) == done | {"bytes_sent": 0}
    assert {request.name for request in server.requests} == {RECORD}
    server.requests.clear()
    home.prepare(url(bucket), transfer=transfer, aws_credentials=block)
    assert Published.read(home.destination) == undisturbed
    assert server.requests == []
    assert bool(list(home.work.rglob(IMAGES))) is (transfer == "keep")


def test_what_cannot_be_mirrored(
    server: RecordServer, bucket: BucketPlace, block: str, *, sample: Sample, tmp_path: Path
) -> None:
    with bucket.open().lock("the-first"), pytest.raises(BusyError, match="run the-first"):
        mirror(server.record_url, url(bucket), aws_credentials=block)
    with pytest.raises(SourceError, match="the sample is made by prepare"):
        mirror("sample", url(bucket), aws_credentials=block)
    with pytest.raises(CredentialsError, match="'nobody'"):
        mirror(server.record_url, url(bucket), aws_credentials="nobody")
    assert server.requests == []
    folder = linked(sample.folder, tmp_path / "record")
    (folder / MAPS).unlink()
    with pytest.raises(SourceError, match=MAPS):
        mirror(str(folder), url(bucket), aws_credentials=block)
    assert all(name.startswith(".") for name in bucket.files())


def test_only_what_comes_over_several_connections_waits_on_the_disk(
    server: RecordServer,
    bucket: BucketPlace,
    *,
    block: str,
    sample: Sample,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr(space, "free_bytes", lambda _: 0)
    options = {"work_dir": str(tmp_path / "work"), "aws_credentials": block}
    with pytest.raises(SpaceError, match=r"bytes on their way.* use one connection"):
        mirror(server.record_url, url(bucket), **options)
    mirror(str(sample.folder), url(bucket), **options)
    require_whole(bucket, sample.folder)
