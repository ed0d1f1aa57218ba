"""A published dataset out of a bucket of a real S3 server: whole, in part, interrupted, damaged."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bigearthnet.store.s3.reader
import boto3
import pytest
from bigearthnet.store.s3.fetch import bring
from bigearthnet.store.s3.objects import Bucket
from botocore.config import Config
from prefect.settings import PREFECT_API_URL

from bigearthnet.dataset.card import PublishedFile
from bigearthnet.errors import (
    BusyError,
    ChecksumError,
    SelectionError,
    SourceError,
    SpaceError,
    TransferError,
)
from bigearthnet.sample.archives import Sample
from bigearthnet.store.lock import hold
from flows.fetch import fetch
from tests.support.cards import card, entry
from tests.support.line import Line
from tests.support.published import CARD, Published, read_card, require_whole
from tests.support.runs import Place, start
from tests.support.s3_dataset import Home, save_block
from tests.support.s3_server import REGION, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.e2e
pytest_plugins = ("tests.support.s3_fixtures",)

IMAGES_ZIP, MASKS_ZIP = "bigearthnet_pngs.zip", "bigearthnet_mask_pngs.zip"
MIB = 1 << 20


@pytest.fixture(scope="module")
def dataset(prefect_server: None, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that is published in a folder; not to be changed."""
    place = Place.below(tmp_path_factory.mktemp("published"))
    start(sample.folder, place)
    return place.destination


def published(server: S3Server, dataset: Path) -> Home:
    bucket = server.new_bucket()
    for name in Published.read(dataset).sha256:
        bucket.upload(dataset / name, name)
    return Home.of(server, bucket)


@pytest.fixture(scope="module")
def home(s3_server: S3Server, dataset: Path) -> Home:
    """The same dataset in a bucket; not to be changed."""
    return published(s3_server, dataset)


@pytest.fixture
def own(s3_server: S3Server, dataset: Path) -> Home:
    """The same for one test to change."""
    return published(s3_server, dataset)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def line(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr(bigearthnet.store.s3.reader, "_BACKOFF_SECONDS", 0.001)
    with Line(s3_server.port) as line:
        yield line


def run(home: Home, target: Path, **parameters: Any) -> dict[str, Any]:
    asked = {"source": home.url, "destination": str(target), "aws_credentials": home.block, **parameters}
    done: dict[str, Any] = fetch(**asked)
    return done


def impatient(server: S3Server, url: str) -> "S3Client":
    """A client that asks once."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def sizes(folder: Path) -> dict[str, int]:
    return {file["name"]: file["size"] for file in read_card(folder)["files"]}


def visible(folder: Path) -> set[str]:
    """What is there without the hidden folder."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(".")}


def test_a_fetched_dataset_is_the_published_one(home: Home, dataset: Path, target: Path) -> None:
    done = run(home, target)
    assert Published.read(target) == Published.read(dataset)
    assert done == {
        "destination": str(target),
        "files": len(sizes(dataset)),
        "bytes_fetched": sum(sizes(dataset).values()),
        "whole": True,
    }
    before = {path: path.stat().st_ino for path in target.rglob("*.*") if path.name != CARD}
    assert run(home, target)["bytes_fetched"] == 0
    assert before == {path: path.stat().st_ino for path in target.rglob("*.*") if path.name != CARD}
    assert Published.read(target) == Published.read(dataset)


def test_chosen_files_and_tiles_come_alone_and_the_rest_later(
    home: Home, dataset: Path, target: Path, sample: Sample
) -> None:
    tile = sample.tiles[1]
    chosen = {"manifest.parquet", f"tiles/images/{tile}.zip", f"tiles/masks/{tile}.zip"}
    done = run(home, target, files=["*.parquet"], tiles=[tile])
    assert visible(target) == chosen
    assert (done["files"], done["whole"]) == (3, False)
    assert done["bytes_fetched"] == sum(sizes(dataset)[name] for name in chosen)
    assert {name: Published.read(target).sha256[name] for name in chosen} == {
        name: Published.read(dataset).sha256[name] for name in chosen
    }
    rest = run(home, target)
    assert rest["bytes_fetched"] == sum(sizes(dataset).values()) - done["bytes_fetched"]
    assert Published.read(target) == Published.read(dataset)


def test_what_is_not_in_the_dataset_is_told(home: Home, target: Path) -> None:
    with pytest.raises(
        SelectionError, match=r"found none for 'bigearthnet\.zip'; choose among bigearthnet_p"
    ):
        run(home, target, files=["bigearthnet.zip"])
    assert visible(target) == set()


def test_another_dataset_gives_way(home: Home, dataset: Path, tmp_path: Path, sample: Sample) -> None:
    place = Place.below(tmp_path)
    other = {"stretch": "minmax", "mask_classes": "clc_l1"}
    start(sample.folder, place, rendering=other, selection={"tiles": [*sample.tiles[:2]]})
    (place.destination / f"tiles/images/{sample.tiles[0]}.zip").rename(
        place.destination / "tiles/images/S2A_MSIL2A_20170613T101031_N9999_R022_T99XXX.zip"
    )
    run(home, place.destination)
    assert Published.read(place.destination) == Published.read(dataset)
    require_whole(place.destination)


def test_only_a_damaged_file_is_fetched_again(home: Home, dataset: Path, target: Path) -> None:
    run(home, target)
    data = bytearray((target / MASKS_ZIP).read_bytes())
    data[len(data) // 2] ^= 1
    (target / MASKS_ZIP).write_bytes(data)
    assert run(home, target)["bytes_fetched"] == len(data)
    assert Published.read(target) == Published.read(dataset)


def test_a_line_that_breaks_again_and_again(
    s3_server: S3Server, home: Home, dataset: Path, target: Path, line: Line
) -> None:
    line.breaks.extend([200_000] * 1000)
    weak = Home(home.bucket, save_block(s3_server, url=line.url))
    run(weak, target)
    assert Published.read(target) == Published.read(dataset)
    assert line.connections > sum(sizes(dataset).values()) // 200_000


def test_what_arrived_before_the_line_broke_is_not_fetched_again(
    s3_server: S3Server, bucket: Bucket, tmp_path: Path, line: Line
) -> None:
    data, part = os.urandom(3 * MIB), tmp_path / "part"
    told: list[int] = []
    bucket.write("file", data)
    file = PublishedFile(name="file", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    weak = Bucket(impatient(s3_server, line.url), bucket.place, SourceError)
    line.breaks.extend([2 * MIB, *[0] * 1000])
    with pytest.raises(TransferError, match=r"/file, found nothing new in 6 tries"):
        bring(weak, file, part, on_bytes=lambda _: None, sleep=lambda _: None)
    arrived = part.stat().st_size
    assert MIB < arrived < 2 * MIB
    assert part.read_bytes() == data[:arrived]
    asked: list[str] = []
    client = s3_server.client()
    client.meta.events.register(
        "before-send.s3.GetObject", lambda request, **_: asked.append(request.headers["Range"])
    )
    bring(Bucket(client, bucket.place, SourceError), file, part, on_bytes=told.append)
    assert part.read_bytes() == data
    assert [value.decode() if isinstance(value, bytes) else value for value in asked] == [
        f"bytes={arrived}-{len(data) - 1}"
    ]
    assert (told[0], sum(told)) == (arrived, len(data))


@pytest.mark.parametrize("left", [b"wrong", b"too long" * MIB])
def test_a_part_that_is_wrong_never_takes_its_place(bucket: Bucket, tmp_path: Path, left: bytes) -> None:
    data, part = os.urandom(MIB), tmp_path / "part"
    bucket.write("file", data)
    file = PublishedFile(name="file", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    part.write_bytes(left)
    if len(left) < len(data):
        with pytest.raises(ChecksumError, match=rf"/file with SHA-256 {file.sha256} as the card says, found"):
            bring(bucket, file, part, on_bytes=lambda _: None)
        assert not part.exists()
    bring(bucket, file, part, on_bytes=lambda _: None)
    assert part.read_bytes() == data


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    import tasks.fetch
    from flows.fetch import fetch

    source, destination, block, name, limit = sys.argv[1:]

    def reporting(what, size):
        left = int(limit)

        def on_bytes(count):
            nonlocal left
            left -= count
            if left <= 0 and what == f"fetching {name}":
                os.kill(os.getpid(), signal.SIGKILL)

        return on_bytes

    tasks.fetch.reporting = reporting
    fetch(source=source, destination=destination, aws_credentials=block)
    """
)


def test_killed_in_the_middle_the_next_run_fetches_the_rest(home: Home, dataset: Path, target: Path) -> None:
    size = sizes(dataset)[IMAGES_ZIP]
    child = subprocess.run(
        [sys.executable, "-c", KILLED, home.url, target, home.block, IMAGES_ZIP, str(size // 2)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_LOGGING_TO_API_ENABLED": "0"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert IMAGES_ZIP not in visible(target)
    assert CARD not in visible(target)
    (part,) = target.glob(".fetch/*.part")
    arrived = part.stat().st_size
    assert size // 2 <= arrived < size
    there = visible(target)
    done = run(home, target)
    missing = {name: size for name, size in sizes(dataset).items() if name not in there}
    assert done["bytes_fetched"] == sum(missing.values()) - arrived
    assert Published.read(target) == Published.read(dataset)


def _other_bytes(home: Home) -> None:
    home.bucket.write(MASKS_ZIP, home.read(MASKS_ZIP)[::-1])


def _other_size(home: Home) -> None:
    home.bucket.write(MASKS_ZIP, home.read(MASKS_ZIP) + b"x")


def _gone(home: Home) -> None:
    home.bucket.delete([MASKS_ZIP])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            _other_bytes,
            ChecksumError,
            rf"expected s3://.*/{MASKS_ZIP} with SHA-256 \w+ as the card says, found",
        ),
        (_other_size, ChecksumError, rf"expected \d+ bytes at s3://.*/{MASKS_ZIP} as the card says, found"),
        (_gone, SourceError, rf"expected s3://.*/{MASKS_ZIP}, which the card names, found no such object"),
    ],
)
def test_an_object_that_is_not_the_cards_does_not_show(
    own: Home, target: Path, change: Callable[[Home], None], error: type[Exception], message: str
) -> None:
    change(own)
    with pytest.raises(error, match=message):
        run(own, target)
    assert visible(target) == {IMAGES_ZIP}
    assert not list(target.glob(".fetch/*.part"))


def test_a_card_that_names_a_file_elsewhere_is_refused(own: Home, target: Path) -> None:
    own.bucket.write(CARD, card({"../x": b"evil"}))
    with pytest.raises(SourceError, match=r"dataset\.json: expected a card .*files\.0\.name: .*a path below"):
        run(own, target)
    assert [path.name for path in target.parent.rglob("*") if path.is_file()] == [".lock"]


def test_too_little_space_is_found_before_anything_is_fetched(own: Home, target: Path) -> None:
    huge = entry("huge.zip", b"") | {"size": 1 << 60}
    own.bucket.write(CARD, card({}, files=[*json.loads(own.read(CARD))["files"], huge]))
    with pytest.raises(SpaceError, match=r"of free disk space for what is to be fetched in .*, found"):
        run(own, target)
    assert visible(target) == set()
    assert not list(target.glob(".fetch/*.part"))


def test_what_is_not_published_is_told(s3_server: S3Server, bucket: Bucket, target: Path) -> None:
    home = Home.of(s3_server, bucket)
    with pytest.raises(
        SourceError, match=rf"expected a dataset at {home.url}, found no dataset\.json: it is not"
    ):
        run(home, target)
    wrong = Home.of(s3_server, bucket, secret_key="wrong")  # noqa: S106
    with pytest.raises(
        SourceError, match=rf"expected to read {home.url}/{CARD}, found SignatureDoesNotMatch"
    ):
        run(wrong, target)


def test_a_folder_that_another_run_holds_is_left_alone(home: Home, target: Path) -> None:
    with (
        hold(target, "destination", "the other"),
        pytest.raises(BusyError, match=rf"expected the destination {re.escape(str(target))} to be free"),
    ):
        run(home, target)
    assert visible(target) == set()
