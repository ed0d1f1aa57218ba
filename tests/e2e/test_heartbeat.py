"""Lines in the log while something takes long."""

import logging
import threading
import time
from contextlib import suppress

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from tasks.heartbeat import byte_progress, still_running

pytestmark = pytest.mark.e2e


def test_it_is_logged_again_and_again_and_not_after_the_end(
    prefect_server: None, caplog: pytest.LogCaptureFixture
) -> None:
    line = "counting sheep: still running after 0 s"

    @flow
    def long() -> None:
        with suppress(KeyboardInterrupt), still_running("counting sheep", 0.01, 0.01):
            while caplog.messages.count(line) < 2:
                time.sleep(0.01)
            raise KeyboardInterrupt
        assert "counting sheep" not in [thread.name for thread in threading.enumerate()]

    with caplog.at_level(logging.INFO):
        long()
    assert caplog.messages.count(line) >= 2


def test_bytes_are_shown_as_one_progress_bar(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    @flow
    def copying() -> None:
        on_bytes = byte_progress("copying x", 4 << 20)
        for second in (1, 61, 62, 122):
            now[0] = second
            on_bytes(1 << 20)

    state: State[None] = copying(return_state=True)
    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=only)
    assert (artifact.type, artifact.data) == ("progress", 100.0)
    assert str(artifact.description).startswith("copying x: 100 % (4.0 MiB of 4.0 MiB)")
