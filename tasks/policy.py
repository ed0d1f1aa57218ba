"""Settings of tasks that transfer files."""

from typing import Any, Final

from prefect.client.schemas.objects import State, TaskRun

from bigearthnet.errors import ChangedError, ChecksumError


def is_worth_a_retry(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Return True where a file arrived damaged or changed on the way: it is fetched once more.

    Broken connections and busy servers are retried below, where a transfer goes on from the byte it reached.
    """
    return isinstance(state.result(raise_on_failure=False), ChecksumError | ChangedError)


TRANSFER: Final[dict[str, Any]] = {
    "retries": 1,
    "retry_delay_seconds": 10,
    "retry_condition_fn": is_worth_a_retry,
    "persist_result": False,
}
"""What is there counts, not what Prefect remembers."""
