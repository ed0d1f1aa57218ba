"""Log progress at least once a minute."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from bigearthnet.progress import Progress, human_time

FIRST_SECONDS = 10.0
EVERY_SECONDS = 60.0


@contextmanager
def still_running(
    what: str, every_seconds: float = EVERY_SECONDS, first_seconds: float = FIRST_SECONDS
) -> Iterator[None]:
    """Log, until the block ends, that `what` is still running: first after 10 s, then every minute."""
    logger = get_run_logger()  # here: the thread below is outside of the run
    began, ended = time.monotonic(), threading.Event()

    def log() -> None:
        wait = first_seconds
        while not ended.wait(wait):
            logger.info("%s: still running after %s", what, human_time(time.monotonic() - began))
            wait = every_seconds

    thread = threading.Thread(target=log, name=what, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def byte_progress(what: str, size: int) -> Callable[[int], None]:
    """Return what counts bytes, and shows the progress as a log line and an artifact once a minute."""
    logger, progress = get_run_logger(), Progress(what, size, time.monotonic)
    shown: UUID | None = None

    def on_bytes(count: int) -> None:
        nonlocal shown
        line = progress.advance(count)
        if line is None:
            return
        logger.info(line)
        if shown is None:  # cast: a coroutine only where there is an event loop
            shown = cast(UUID, create_progress_artifact(progress=progress.percent, description=line))
        else:
            update_progress_artifact(shown, progress=progress.percent, description=line)

    return on_bytes
