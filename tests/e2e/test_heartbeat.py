"""Lines in the log while something takes long."""

import logging
import threading
import time
from contextlib import suppress

import pytest
from prefect import flow

from tasks.heartbeat import still_running

pytestmark = pytest.mark.e2e


def test_it_is_logged_again_and_again_and_not_after_the_end(
    prefect_server: None, caplog: pytest.LogCaptureFixture
) -> None:
    line = "counting sheep: still running after 0 s"

    @flow
    def long() -> None:
        with suppress(KeyboardInterrupt), still_running("counting sheep", every_seconds=0.01):
            while caplog.messages.count(line) < 2:
                time.sleep(0.01)
            raise KeyboardInterrupt
        assert "counting sheep" not in [thread.name for thread in threading.enumerate()]

    with caplog.at_level(logging.INFO):
        long()
    assert caplog.messages.count(line) >= 2
