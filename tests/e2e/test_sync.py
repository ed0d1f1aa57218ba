"""The nightly flow: what it decides, and what it leaves as it is."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from bigearthnet.errors import SourceError
from flows.sync import sync
from tests.support.archives import MAPS, linked, rewrite
from tests.support.published import IMAGES_ZIP, MANIFEST, require_whole
from tests.support.record_server import RECORD, RecordServer
from tests.support.runs import Home
from tests.support.sample import Sample, make_sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]

MADE = {
    "selection": {"splits": ["train", "test"]},
    "rendering": {"stretch": "minmax", "mask_classes": "clc_l1"},
    "packaging": {"formats": ["parquet"]},
}


def run(source: str | Path, home: Home, **parameters: Any) -> State[Any]:
    """Run it to its good end."""
    state: State[Any] = sync(source=str(source), return_state=True, **(home.options | parameters))
    assert state.is_completed(), state.message
    return state


def artifact(state: State[Any]) -> str:
    """The text of the run's artifact, as it is shown: in Markdown, names have a backslash before `_`."""
    with get_client(sync_client=True) as client:
        only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        (found,) = client.read_artifacts(artifact_filter=only)
    return str(found.data).replace("\\_", "_")


def test_without_a_dataset_it_says_so_and_does_nothing(server: RecordServer, any_home: Home) -> None:
    state = run(server.record_url, any_home)
    assert (state.name, server.requests, any_home.place.files()) == ("No dataset", [], {})
    assert any_home.url in (state.message or "")
    assert not any_home.work.exists()


def test_a_new_version_is_prepared_as_the_dataset_was_made(
    server: RecordServer, home: Home, tmp_path: Path
) -> None:
    home.prepare(server.record_url, **MADE)
    parameters = require_whole(home.destination)["parameters"]
    newer = make_sample(tmp_path / "newer", 3, 7)
    with RecordServer(newer.folder, record_id="99", version="2.1.0") as another:
        server.latest = another.record_url
        state = run(server.record_url, home)
        assert "10891137 2.0.0 → 99 2.1.0" in artifact(state)
        card = require_whole(home.destination)
        assert card["source"]["record"] == "99"
        for name in MADE:
            assert card["parameters"][name] == parameters[name]
        fresh = Home.folder(tmp_path / "fresh")
        fresh.prepare(another.record_url, **MADE, transfer="stream")
        assert home.sha256() == fresh.sha256()


def test_a_folder_is_named_as_the_source_and_read_again_only_when_it_changed(
    sample: Sample, home: Home, tmp_path: Path
) -> None:
    folder = linked(sample.folder, tmp_path / "folder")
    home.prepare(folder)
    with pytest.raises(SourceError, match="Name it as the source"):
        sync(**home.options)
    assert run(folder, home).name == "Up to date"
    rewrite(folder / MAPS, lambda _, old: old + b"\0")
    assert f"{MAPS}: " in artifact(run(folder, home))
    assert run(folder, home).name == "Up to date"


@pytest.mark.parametrize(("where", "name"), [("home", MANIFEST), ("bucket_home", IMAGES_ZIP)])
def test_what_is_intact_stays_and_what_is_missing_or_damaged_is_made_again_with_any_work_folder(
    request: pytest.FixtureRequest, server: RecordServer, tmp_path: Path, *, where: str, name: str
) -> None:
    home: Home = request.getfixturevalue(where)
    few = {"selection": {**MADE["selection"], "max_patches": 4}}
    home.prepare(server.record_url, **(MADE | few), transfer="stream")
    before, files, versions = home.sha256(), home.files(), home.versions()
    another = home.beside(tmp_path / "another")
    server.requests.clear()
    state = run(server.record_url, another)
    assert (state.name, state.message) == ("Up to date", "The dataset is up to date.")
    assert {request.name for request in server.requests} == {RECORD}
    assert home.versions() == versions
    assert "- published files: all intact, as before" in artifact(state)
    if where == "home":
        home.place.open().delete([name])
    else:
        home.place.put(name, files[name][::-1])
    state = run(server.record_url, another)
    assert f"missing or damaged: {name}" in artifact(state)
    assert home.sha256() == before
