"""Lines in the log while something takes long."""

import threading
from contextlib import suppress

import pytest
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from tasks.heartbeat import byte_progress, still_running

pytestmark = pytest.mark.e2e


class Lines(threading.Event):
    """Set with the second line about sheep."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def info(self, line: str, *arguments: object) -> None:
        self.seen.append(line % arguments if arguments else line)
        if sum("sheep" in one for one in self.seen) == 2:
            self.set()


@pytest.fixture
def lines(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()

    @flow
    def logger() -> type:
        return type(get_run_logger())

    monkeypatch.setattr(logger(), "info", lambda _self, *line, **_: lines.info(*line))
    return lines


def test_it_is_logged_again_and_again_and_not_after_the_end(lines: Lines) -> None:
    @flow
    def long() -> None:
        with suppress(KeyboardInterrupt), still_running("counting sheep", every_seconds=0.01):
            assert lines.wait(20)
            raise KeyboardInterrupt
        assert "counting sheep" not in [thread.name for thread in threading.enumerate()]

    long()
    assert "counting sheep: still running after 0 s" in lines.seen


def test_bytes_are_logged_once_a_minute_and_shown_as_one_artifact(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    @flow
    def copying() -> None:
        on_bytes = byte_progress("copying x", 4 << 20)
        for second in (59.0, 60.0, 90.0, 120.0):
            now[0] = second
            on_bytes(1 << 20)

    state: State[None] = copying(return_state=True)
    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=only)
    assert [line.split(",")[0] for line in lines.seen if "copying x" in line] == [
        "copying x: 50 % (2.0 MiB of 4.0 MiB)",
        "copying x: 100 % (4.0 MiB of 4.0 MiB)",
    ]
    assert (artifact.type, artifact.data, artifact.description) == ("progress", 100.0, lines.seen[-1])
