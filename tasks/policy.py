"""What all tasks share: when a failure is worth another try, and where results are kept."""

from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore

from bigearthnet.errors import ChecksumError, TransferError
from bigearthnet.source.old.http import Http, Patience
from bigearthnet.work.workspace import Workspace

RETRIES = 3
RETRY_DELAYS: list[float] = [30, 120, 600]
"""Seconds. A reader over the network is patient by itself already; these are for longer outages."""
PATIENCE = Patience()


def http() -> Http:
    """A pool of connections with the patience of the house."""
    return Http(PATIENCE)


def worth_another_try(_task: object, run: TaskRun, state: State[Any]) -> bool:
    """Retry what the network did; fetch a file whose checksum is wrong once more; nothing else."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, ChecksumError):
        return run.run_count <= 1
    return isinstance(error, TransferError)


PATIENT: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": RETRY_DELAYS,
    "retry_condition_fn": worth_another_try,
    "persist_result": False,
}
"""Settings of a task over the network, whose result is what is there and not what Prefect remembers."""


def recall(key: str, workspace: Workspace) -> object | None:
    """What a task left under a cache key; none if nothing is there, or only what a killed run began."""
    store = ResultStore(result_storage=LocalFileSystem(basepath=str(workspace.results)))
    if not store.exists(key):
        return None
    try:
        result: object = store.read(key).result
    except ValueError:  # no JSON, or not what Prefect writes
        return None
    return result


def keyed(parameter: str) -> Callable[[object, dict[str, Any]], str]:
    """A cache key function: the key is one of the task's parameters, and readable as a file name."""
    return lambda _context, parameters: str(parameters[parameter])
