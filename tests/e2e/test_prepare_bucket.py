"""Whole runs into a bucket of a real S3 server: what is published, and what is not done twice."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bigearthnet.store.s3.objects import Bucket

from bigearthnet.errors import RejectedError
from bigearthnet.sample.archives import Sample
from tests.support.archives import IMAGES, linked, rewrite
from tests.support.published import Published, require_whole, unzip_tests
from tests.support.record_server import RECORD, RecordServer
from tests.support.runs import Place, observed, start
from tests.support.s3_dataset import Home
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.e2e
pytest_plugins = ("tests.support.s3_fixtures",)

OTHER = {"stretch": "minmax", "mask_classes": "clc_l1"}


@pytest.fixture
def home(s3_server: S3Server, bucket: Bucket) -> Home:
    return Home.of(s3_server, bucket)


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_a_dataset_in_a_bucket_is_the_one_in_a_folder(
    server: RecordServer, place: Place, *, home: Home, undisturbed: Published, tmp_path: Path, transfer: str
) -> None:
    done = start(server.record_url, place, transfer=transfer, **home.parameters)
    assert done["destination"] == home.url
    assert home.published() == undisturbed
    require_whole(home.bring(tmp_path / "brought"))
    assert all(unzip_tests(path) for path in (tmp_path / "brought").rglob("*.zip"))
    assert home.unfinished_uploads() == []
    assert place.files("tiles/*/*.zip") == []  # shards leave the disk
    assert not [name for name in home.names(hidden=True) if name.startswith(".tiles") and ".zip" in name]


def test_the_objects_say_what_they_are_made_of(
    server: RecordServer, place: Place, home: Home, undisturbed: Published
) -> None:
    start(server.record_url, place, **home.parameters)
    card = require_whole(home.bring(place.destination))
    images_md5 = next(file["md5"] for file in card["source"]["files"] if "S2" in file["name"])
    for name, sha256 in undisturbed.sha256.items():
        found = home.bucket.head(name)
        assert found is not None
        assert found.metadata["source-md5"] == images_md5
        if name != "dataset.json":
            assert found.metadata["sha256"] == sha256
        if not name.startswith("tiles/"):
            assert found.metadata["parameters"] == card["parameters"]["digest"]


def test_a_second_run_writes_nothing_from_any_machine(
    server: RecordServer, place: Place, home: Home, tmp_path: Path
) -> None:
    start(server.record_url, place, transfer="stream", **home.parameters)
    before = home.etags()
    server.requests.clear()
    runs = observed(
        server.record_url, Place.below(tmp_path / "another"), transfer="stream", **home.parameters
    )
    assert not [request for request in server.requests if "S2" in request.name]
    assert {request.name for request in server.requests} > {RECORD}
    assert runs.of("extract") == runs.of("convert") == runs.of("upload") == []
    assert home.etags() == before


def test_one_tile_more_sends_one_tile(sample: Sample, place: Place, home: Home, tmp_path: Path) -> None:
    start(sample.folder, place, selection={"tiles": list(sample.tiles[:2])}, **home.parameters)
    another = Place.below(tmp_path / "another")
    wanted = {"tiles": list(sample.tiles[:3])}
    runs = observed(sample.folder, another, selection=wanted, **home.parameters)
    assert runs.named("extract") == runs.named("upload") == [sample.tiles[2]]
    start(sample.folder, place, selection=wanted)
    assert home.published() == Published.read(place.destination)


def test_one_tile_less_leaves_nothing_of_it(sample: Sample, place: Place, home: Home) -> None:
    start(sample.folder, place, **home.parameters)
    start(sample.folder, place, selection={"tiles": list(sample.tiles[1:])}, **home.parameters)
    assert not [name for name in home.names(hidden=True) if sample.tiles[0] in name]
    require_whole(home.bring(place.destination))


def remove(home: Home, name: str) -> None:
    home.bucket.delete([name])


def write_over(home: Home, name: str) -> None:
    """With as many bytes, as somebody would who does not know what it is."""
    home.bucket.write(name, bytes(len(home.read(name))))


@pytest.mark.parametrize("damage", [remove, write_over])
@pytest.mark.parametrize(
    "name", ["bigearthnet_pngs.zip", "bigearthnet_mask_pngs.zip", "manifest.parquet", "preview.png"]
)
def test_a_published_file_that_is_gone_or_changed_is_made_of_what_is_there(
    sample: Sample, place: Place, home: Home, damage: Callable[[Home, str], None], name: str
) -> None:
    start(sample.folder, place, **home.parameters)
    before, written = home.published(), home.etags()
    damage(home, name)
    runs = observed(sample.folder, place, **home.parameters)
    assert runs.of("extract") == runs.of("upload") == []
    assert home.published() == before
    after = home.etags()
    assert {key for key in after if after[key] != written[key]} <= {name, "dataset.json"}


@pytest.mark.parametrize("damage", [remove, write_over])
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_published_shard_that_is_gone_or_changed_is_made_again(
    sample: Sample, place: Place, home: Home, damage: Callable[[Home, str], None], folder: str
) -> None:
    start(sample.folder, place, **home.parameters)
    before = home.published()
    damage(home, f"tiles/{folder}/{sample.tiles[1]}.zip")
    runs = observed(sample.folder, place, **home.parameters)
    assert runs.named("extract") == runs.named("upload") == [sample.tiles[1]]
    assert home.published() == before


def test_a_card_that_is_gone_comes_back(sample: Sample, place: Place, home: Home, tmp_path: Path) -> None:
    start(sample.folder, place, **home.parameters)
    before = home.published()
    remove(home, "dataset.json")
    runs = observed(sample.folder, Place.below(tmp_path / "another"), **home.parameters)
    assert runs.of("extract") == runs.of("upload") == []
    assert home.published() == before


def without_first_band() -> Callable[[str, bytes], bytes | None]:
    """A change to an archive: the first B04 that comes is left out."""
    left = iter([None])
    return lambda name, old: next(left, old) if name.endswith("_B04.tif") else old


def test_a_run_that_fails_leaves_the_dataset_before_it(
    sample: Sample, place: Place, home: Home, tmp_path: Path
) -> None:
    start(sample.folder, place, **home.parameters)
    before = home.published()
    source = linked(sample.folder, tmp_path / "poor")
    rewrite(source / IMAGES, without_first_band())
    with pytest.raises(RejectedError):
        start(source, place, rendering=OTHER, **home.parameters)
    assert home.published() == before
    start(source, place, rendering=OTHER, max_rejected=1, **home.parameters)
    card = require_whole(home.bring(tmp_path / "brought"))
    assert card["parameters"]["rendering"]["stretch"] == "minmax"
    assert card["counts"]["rejected"] == 1
    assert not [name for name in home.names(hidden=True) if name.startswith(".tiles") and ".zip" in name]


def test_other_objects_of_the_bucket_are_left_alone(sample: Sample, place: Place, home: Home) -> None:
    mine = ["notes.txt", "tiles/images/notes.zip", "tiles/other.zip", ".mine/x"]
    for name in mine:
        home.bucket.write(name, b"mine")
    place_of = home.bucket.place
    upload = home.bucket.client.create_multipart_upload(Bucket=place_of.bucket, Key=place_of.key("mine.bin"))
    start(sample.folder, place, **home.parameters)
    assert all(home.read(name) == b"mine" for name in mine)
    assert home.unfinished_uploads() == [place_of.key("mine.bin")]
    home.bucket.client.abort_multipart_upload(
        Bucket=place_of.bucket, Key=place_of.key("mine.bin"), UploadId=upload["UploadId"]
    )
