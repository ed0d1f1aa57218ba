"""Flows that last until they are told to end, or take too much memory, for tests that end them."""

import logging
import time
from pathlib import Path

from prefect import flow, flow_engine

logger = logging.getLogger("bigearthnet.lasting")

# Prefect's shortest heartbeat is 30 s, which is too long for a test.
flow_engine.MINIMUM_HEARTBEAT_INTERVAL = 1
flow_engine.BaseFlowRunEngine.heartbeat_seconds = property(lambda _engine: 1)  # type: ignore[method-assign,assignment]


@flow(name="lasting")
def lasting(folder: str, calls: bool = False) -> None:
    """Last while `folder` has no file `end`. Leave `begun` there, and `cleaned` unless killed."""
    if calls:
        called(folder)
    else:
        last(Path(folder))


@flow(name="called")
def called(folder: str) -> None:
    """The same, called by another flow."""
    last(Path(folder))


def last(folder: Path) -> None:
    logger.info("lasting begins")
    (folder / "begun").touch()
    try:
        while not (folder / "end").exists():
            time.sleep(0.05)
    finally:
        (folder / "cleaned").touch()


@flow(name="greedy")
def greedy(mib: int) -> None:
    """Allocate more memory than the host has, and use it."""
    held = [b"\1" * (1 << 20) for _ in range(mib)]
    raise MemoryError(f"allocated {len(held)} MiB without being killed")
