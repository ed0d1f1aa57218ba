"""The nightly flow: what it decides, and what it leaves alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bigearthnet.store.s3.objects import Bucket
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from bigearthnet.sample.archives import Sample, make_sample
from flows.sync import sync
from tests.support.archives import linked, rewrite
from tests.support.published import Published, require_whole
from tests.support.record_server import RECORD, RecordServer
from tests.support.runs import Place
from tests.support.s3_dataset import Home
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.e2e
pytest_plugins = ("tests.support.s3_fixtures",)


def run(source: str | Path, place: Place, **parameters: Any) -> State[Any]:
    """Run it to its good end."""
    asked = {"destination": str(place.destination), "work_dir": str(place.work), **parameters}
    state: State[Any] = sync(source=str(source), return_state=True, **asked)
    assert state.is_completed(), state.message
    return state


def told(state: State[Any]) -> str:
    """The text of the run's artifact."""
    with get_client(sync_client=True) as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        (artifact,) = client.read_artifacts(artifact_filter=only)
    return str(artifact.data)


def changes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def test_the_first_time_it_prepares(server: RecordServer, place: Place, undisturbed: Published) -> None:
    state = run(server.record_url, place)
    assert (state.name, state.result()["patches"]) == ("Completed", 24)
    assert "Going to prepare, because of the dataset: not published" in told(state)
    assert Published.read(place.destination) == undisturbed


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_up_to_date_nothing_is_fetched_or_written(server: RecordServer, place: Place, transfer: str) -> None:
    run(server.record_url, place, transfer=transfer)
    before = changes(place.destination)
    server.requests.clear()
    state = run(server.record_url, place, transfer=transfer)
    assert state.name == "Up to date"
    assert state.message == f"Up to date: nothing is fetched or written in {place.destination}"
    assert {request.name for request in server.requests} == {RECORD}
    assert changes(place.destination) == before
    assert "| published files | 12 files | all there and right | same |" in told(state)


def test_a_new_version_is_prepared(server: RecordServer, place: Place, tmp_path: Path) -> None:
    run(server.record_url, place)
    newer = make_sample(tmp_path / "newer", patches=10, tiles=2)
    with RecordServer(newer.folder, record_id="99", version="2.1.0") as another:
        server.latest = another.record_url
        state = run(server.record_url, place)
    assert "version of the record: 10891137 2.0.0 → 99 2.1.0" in told(state)
    card = require_whole(place.destination)
    assert (card["source"]["record"], card["counts"]["patches"]) == ("99", 10)


def test_other_parameters_are_prepared(server: RecordServer, place: Place) -> None:
    run(server.record_url, place)
    state = run(server.record_url, place, rendering={"mask_classes": "clc_l3"})
    assert "because of parameters" in told(state)
    assert require_whole(place.destination)["parameters"]["rendering"]["mask_classes"] == "clc_l3"


def test_a_folder_that_did_not_change_is_not_read_again(sample: Sample, place: Place, tmp_path: Path) -> None:
    folder = linked(sample.folder, tmp_path / "folder")
    run(folder, place)
    assert run(folder, place).name == "Up to date"
    rewrite(folder / "Reference_Maps.tar.zst", lambda _name, old: old)
    state = run(folder, place)
    assert "because of Reference_Maps.tar.zst" in told(state)
    assert run(folder, place).name == "Up to date"


def remove(path: Path) -> None:
    path.unlink()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("how", [remove, damage])
@pytest.mark.parametrize("name", ["manifest.parquet", "bigearthnet_pngs.zip"])
def test_what_is_missing_or_damaged_is_made_again(
    server: RecordServer, place: Place, undisturbed: Published, *, how: Callable[[Path], None], name: str
) -> None:
    run(server.record_url, place)
    how(place.destination / name)
    server.requests.clear()
    state = run(server.record_url, place)
    assert f"missing or damaged: {name}" in told(state)
    assert {request.name for request in server.requests} == {RECORD}
    assert Published.read(place.destination) == undisturbed


def test_in_a_bucket(
    s3_server: S3Server, bucket: Bucket, server: RecordServer, *, place: Place, sample: Sample, tmp_path: Path
) -> None:
    home = Home.of(s3_server, bucket)
    run(server.record_url, place, **home.parameters)
    before, written = home.published(), home.etags()
    server.requests.clear()
    another = Place.below(tmp_path / "another")
    assert run(server.record_url, another, **home.parameters).name == "Up to date"
    assert {request.name for request in server.requests} == {RECORD}
    assert home.etags() == written
    shard = f"tiles/masks/{sample.tiles[3]}.zip"
    bucket.write(shard, bytes(len(home.read(shard))))
    state = run(server.record_url, another, **home.parameters)
    assert f"missing or damaged: {shard}" in told(state)
    assert home.published() == before
