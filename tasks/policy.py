"""Settings that tasks share: retries, and where results are kept."""

import json
from pathlib import Path
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
"""Settings of a task that transfers files. What is there counts, not what Prefect remembers."""

CACHED: Final[dict[str, Any]] = {
    "cache_key_fn": lambda _context, parameters: parameters["key"],
    "persist_result": True,
    "result_serializer": "json",
    "cache_result_in_memory": False,
}
"""Settings of a task whose result is kept as JSON under its parameter `key`."""


def has_json_result(key: str, results: Path) -> bool:
    """Return True if a result is kept under a cache key as JSON.

    Prefect reads a result with the serializer that the file names, which can be one that runs code.
    """
    try:
        record = json.loads((results / key).read_bytes())
        return bool(record["metadata"]["serializer"]["type"] == "json")
    except (OSError, ValueError, KeyError, TypeError):
        return False
