"""Runs that nobody looks after any more become Crashed: `python -m deployments.reaper`.

A worker that is killed, or a host that loses its power, leaves runs that say Running for ever. Only a
worker can tell them the truth, and only its own host's: so each worker reaps before it starts, and after
it has ended.
"""

import logging
import socket
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

from deployments import processes
from deployments.guard import alone, require_server
from deployments.settings import POOL

UNFINISHED: Final = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
_UNFINISHED: Final = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(UNFINISHED)))
)
_WORKER: Final = "prefect.worker.name"
_REASON: Final = (
    "expected a worker to look after this run until its end, found none on {host}: it was stopped or killed, "
    "or the power was cut; run it again, what is done already is kept"
)
_CALLER_ENDED: Final = "expected the run that called this one to go on, found it ended; see there why"

logger = logging.getLogger("prefect.reaper")


def reap(host: str) -> int:
    """End what is left of the runs of this host's worker, which must have ended, and say so in their states.

    Args:
        host: the worker's name.

    Returns:
        How many runs were unfinished.
    """
    with get_client(sync_client=True) as client:
        left = left_behind(unfinished(client), host)
        if left:
            processes.end({run.id for run in left})
        for run in left:
            conclude(client, run.id, _REASON.format(host=host))
        conclude_called(client)
        return len(left)


def left_behind(runs: Iterable[FlowRun], host: str) -> list[FlowRun]:
    """Of unfinished runs those that this host's worker had, or that were on their way to it."""
    return [run for run in runs if run.labels.get(_WORKER, host) == host]


def verdict(state: State | None, reason: str) -> State | None:
    """What a run whose process is gone has come to; None where its state says so already."""
    if state is not None and state.type not in UNFINISHED:
        return None
    if state is not None and state.type == StateType.CANCELLING:
        return Cancelled(message=reason)
    return Crashed(message=reason)


def conclude(client: SyncPrefectClient, run_id: UUID, reason: str) -> None:
    """Give a run whose process is gone the state that is true."""
    run = client.read_flow_run(run_id)  # it may have said so itself meanwhile
    state = verdict(run.state, reason)
    if state is not None:
        logger.warning("%s: %s, %s", run.name, state.type.value, reason)
        client.set_flow_run_state(run_id, state, force=True)


def conclude_called(client: SyncPrefectClient) -> None:
    """Do so for the runs whose callers have ended: they lived in the same process."""
    called = [run for run in client.read_flow_runs(flow_run_filter=_UNFINISHED) if lives_with_its_caller(run)]
    ended = [run for run in called if _caller_has_ended(client, run)]
    for run in ended:
        conclude(client, run.id, _CALLER_ENDED)
    if ended:
        conclude_called(client)  # and those that these had called


def lives_with_its_caller(run: FlowRun) -> bool:
    """Whether another run called it as a function; one that it had deployed has its own process."""
    return run.parent_task_run_id is not None and run.deployment_id is None


def _caller_has_ended(client: SyncPrefectClient, run: FlowRun) -> bool:
    if run.parent_task_run_id is None:
        return False
    caller = client.read_task_run(run.parent_task_run_id).flow_run_id
    return caller is None or client.read_flow_run(caller).state_type not in UNFINISHED


def unfinished(client: SyncPrefectClient) -> list[FlowRun]:
    """The runs of the pool that have begun and not ended, as far as the server knows."""
    return client.read_flow_runs(
        flow_run_filter=_UNFINISHED,
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )


def main() -> None:
    """Reap, unless a worker is at work on this host."""
    require_server()
    with alone():
        reap(socket.gethostname())


if __name__ == "__main__":
    main()
