import random
import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import bigearthnet.store.s3.objects
import pytest
from bigearthnet.store.s3.join import BucketShard, joined, tail_of
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Listed, Stored

from bigearthnet.errors import ArchiveError, ChecksumError
from bigearthnet.zips.format import read_tail
from bigearthnet.zips.join import join_to_file
from bigearthnet.zips.shard import ShardWriter

pytestmark = pytest.mark.integration
pytest_plugins = ("tests.support.s3_fixtures",)

KIB, MIB = 1 << 10, 1 << 20
METADATA = {"digest": "abc"}


def write_shard(path: Path, sizes: list[int]) -> Path:
    """A shard of members of these sizes, whose names begin with the file's."""
    source = random.Random(path.stem)
    with ShardWriter(path) as writer:
        for i, size in enumerate(sizes):
            writer.add(f"{path.stem}/{i:05d}.png", source.randbytes(size))
    return path


def write_shards(folder: Path, sizes: list[list[int]]) -> list[Path]:
    return [write_shard(folder / f"{i}.zip", of_shard) for i, of_shard in enumerate(sizes)]


def upload(bucket: Bucket, paths: list[Path]) -> list[BucketShard]:
    stored = [bucket.upload(path, f"tiles/{path.name}") for path in paths]
    return [BucketShard(source, tail_of(bucket, source)) for source in stored]


def join(bucket: Bucket, shards: list[BucketShard], target: str, metadata: dict[str, str]) -> Stored:
    with joined(bucket, shards, target, metadata) as upload:
        return Stored(target, upload.size, upload.complete(), metadata)


def content(bucket: Bucket, name: str) -> bytes:
    key = f"{bucket.place.prefix}/{name}"
    return bucket.client.get_object(Bucket=bucket.place.bucket, Key=key)["Body"].read()


def require_nothing_left(bucket: Bucket) -> None:
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.place.bucket).get("Uploads")
    assert bucket.head("all.zip") is None


@pytest.mark.parametrize(
    ("sizes", "at_most"),
    [
        pytest.param([[6 * MIB], [7 * MIB, 10], [9 * MIB]], 1 * KIB, id="large"),
        pytest.param([[100], [], [2000, 3], [0]], 4 * KIB, id="small"),
        pytest.param(
            [[100], [5 * MIB, 6 * MIB], [MIB], [200], [20 * MIB], [1]], 10 * MIB + 9 * KIB, id="mixed"
        ),
        pytest.param([[5 * MIB], [10], [5 * MIB - 1], [4 * MIB]], 9 * MIB + 2 * KIB, id="around 5 MiB"),
        pytest.param([], 22, id="none"),
        pytest.param([[1] * 9000, [1] * 9000], 3 * MIB, id="many"),
    ],
)
def test_a_join_is_the_one_of_the_same_shards_in_a_folder(
    bucket: Bucket, tmp_path: Path, sizes: list[list[int]], at_most: int
) -> None:
    paths = write_shards(tmp_path, sizes)
    shards = upload(bucket, paths)
    sent = []

    def count(params: dict[str, Any], **_: Any) -> None:
        sent.append(len(params["body"].getvalue()))

    bucket.client.meta.events.register("before-call.s3.UploadPart", count)
    stored = join(bucket, shards, "all.zip", METADATA)

    join_to_file(paths, tmp_path / "expected.zip")
    joined = content(bucket, "all.zip")
    assert joined == (tmp_path / "expected.zip").read_bytes()
    assert stored == bucket.head("all.zip")
    assert (stored.size, stored.metadata) == (len(joined), METADATA)
    assert sum(sent) <= at_most  # the bytes of images travel once, but for small shards
    with zipfile.ZipFile(BytesIO(joined)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == sum(map(len, sizes))
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.place.bucket).get("Uploads")


def test_a_large_central_directory_goes_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    """Long names make it large without many members."""
    paths = [tmp_path / "0.zip", tmp_path / "1.zip"]
    for path in paths:
        with ShardWriter(path) as writer:
            for i in range(120):
                writer.add(f"{path.stem}/{i:03d}{'_' * 60_000}", b"")
    join(bucket, upload(bucket, paths), "all.zip", METADATA)
    join_to_file(paths, tmp_path / "expected.zip")
    assert content(bucket, "all.zip") == (tmp_path / "expected.zip").read_bytes()
    parts = bucket.client.head_object(**where(bucket, "all.zip"))["ETag"].strip('"').partition("-")[2]
    assert int(parts) == 4  # two member sections, more than 8 MiB of central directory, the end records


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_finds_no_fault(bucket: Bucket, tmp_path: Path) -> None:
    shards = upload(bucket, write_shards(tmp_path, [[6 * MIB, 1], [3 * MIB], [100] * 50, [12 * MIB]]))
    join(bucket, shards, "all.zip", METADATA)
    (tmp_path / "all.zip").write_bytes(content(bucket, "all.zip"))
    done = subprocess.run(["unzip", "-tqq", tmp_path / "all.zip"], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_shards_that_were_uploaded_in_parts_are_joined_too(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PUT_LIMIT_BYTES", 5 * MIB)
    monkeypatch.setattr(bigearthnet.store.s3.objects, "PART_BYTES", 5 * MIB)
    paths = write_shards(tmp_path, [[8 * MIB, 9 * MIB], [6 * MIB]])
    shards = upload(bucket, paths)
    assert shards[0].source.etag.endswith('-4"')
    join(bucket, shards, "all.zip", METADATA)
    join_to_file(paths, tmp_path / "expected.zip")
    assert content(bucket, "all.zip") == (tmp_path / "expected.zip").read_bytes()


def test_the_end_records_are_those_of_the_file(bucket: Bucket, tmp_path: Path) -> None:
    for path in write_shards(tmp_path, [[], [5, 6]]):
        with path.open("rb") as file:
            assert tail_of(bucket, bucket.upload(path, path.name)) == read_tail(file)


def test_a_shard_that_was_cut_off_is_named(bucket: Bucket, tmp_path: Path) -> None:
    data = write_shard(tmp_path / "a.zip", [100]).read_bytes()
    bucket.write("a.zip", data[:-1])
    found = Listed("a.zip", len(data) - 1, str(bucket.client.head_object(**where(bucket, "a.zip"))["ETag"]))
    with pytest.raises(ArchiveError, match=r"found .* in s3://.*/a\.zip; delete it"):
        tail_of(bucket, found)


def where(bucket: Bucket, name: str) -> Any:
    return {"Bucket": bucket.place.bucket, "Key": f"{bucket.place.prefix}/{name}"}


@pytest.mark.parametrize(("size", "verb"), [(100, "read"), (6 * MIB, "copy")])
def test_a_shard_that_changed_meanwhile_is_not_joined(
    bucket: Bucket, tmp_path: Path, size: int, verb: str
) -> None:
    shards = upload(bucket, write_shards(tmp_path, [[size], [size]]))
    write_shard(tmp_path / "other.zip", [size])
    bucket.upload(tmp_path / "other.zip", "tiles/1.zip")
    with pytest.raises(
        ChecksumError, match=rf"expected to {verb} .*tiles/1\.zip.* found that it is another one now"
    ):
        join(bucket, shards, "all.zip", METADATA)
    require_nothing_left(bucket)


def test_parts_that_wait_change_nothing(bucket: Bucket, tmp_path: Path) -> None:
    shards = upload(bucket, write_shards(tmp_path, [[6 * MIB], [6 * MIB]]))
    bucket.write("all.zip", b"the one before")
    with joined(bucket, shards, "all.zip", METADATA):
        assert content(bucket, "all.zip") == b"the one before"
    assert content(bucket, "all.zip") == b"the one before"
    bucket.delete(["all.zip"])
    require_nothing_left(bucket)


def test_names_that_do_not_ascend_leave_nothing_behind(bucket: Bucket, tmp_path: Path) -> None:
    first, second = upload(bucket, write_shards(tmp_path, [[6 * MIB], [6 * MIB]]))
    with pytest.raises(ArchiveError, match=r"expected names that ascend .* in tiles/0\.zip"):
        join(bucket, [second, first], "all.zip", METADATA)
    require_nothing_left(bucket)


def test_a_cancelled_join_leaves_what_was_there(bucket: Bucket, tmp_path: Path) -> None:
    shards = upload(bucket, write_shards(tmp_path, [[6 * MIB], [6 * MIB]]))
    bucket.write("all.zip", b"the one before")

    def cancel(**_: Any) -> None:
        raise KeyboardInterrupt

    bucket.client.meta.events.register("before-call.s3.UploadPart", cancel)
    with pytest.raises(KeyboardInterrupt):
        join(bucket, shards, "all.zip", METADATA)
    assert content(bucket, "all.zip") == b"the one before"
    bucket.delete(["all.zip"])
    require_nothing_left(bucket)
