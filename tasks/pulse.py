"""No long silence: what takes minutes says at least once a minute that it goes on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger

from bigearthnet.progress import human_time

EVERY_SECONDS = 60.0


@contextmanager
def pulse(what: str, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Until the block ends, log every so many seconds what goes on and for how long it has."""
    logger = get_run_logger()  # asked for here: the thread below is outside of the run
    began, over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(every_seconds):
            logger.info("%s, for %s until now", what, human_time(time.monotonic() - began))

    thread = threading.Thread(target=tell, name=what, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
