"""The process worker of this host, one run at a time: `python -m deployments.worker`.

Prefect's own worker, and what it leaves to others: runs that an earlier one left behind are told the truth
first, a run that must wait says for what, and when the worker is stopped its run ends in good order.
"""

import asyncio
import signal
import socket
import sys
from abc import ABC
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Scheduled
from prefect.types._datetime import now
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from deployments import processes
from deployments.guard import alone, require_server
from deployments.reaper import conclude_called, reap, unfinished
from deployments.settings import POOL

WAITING: Final = "Waiting"
"""Name of the state of a run that waits for another one to end."""
_CANCELLING: Final = timedelta(seconds=40)
_UNEXPLAINED: Final = ("Scheduled", "Late")


class Worker(ProcessWorker, ABC):  # ABC keeps it out of Prefect's list of kinds of workers
    """A process worker that takes one run at a time."""

    def __init__(self, name: str) -> None:
        super().__init__(work_pool_name=POOL, name=name, limit=1)
        self._at_work: set[UUID] = set()
        self._is_stopping = False

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run a flow run to its end, whatever that is; the runs it called end with it."""
        self._at_work.add(flow_run.id)
        try:
            result = await super().run(flow_run, configuration, task_status)
        finally:
            self._at_work.discard(flow_run.id)
        if result.status_code:
            await asyncio.to_thread(_conclude_called)
        return result

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take the next run, if it is time; tell those that must wait."""
        if self._is_stopping:
            return []
        for run_id in set(self._at_work):
            await self._end_if_forgotten(run_id)
        taken = await super().get_and_submit_flow_runs()
        if self.limiter.available_tokens < 1:
            await self._explain_waiting({run.id for run in taken} | self._at_work)
        return taken

    async def drain(self) -> None:
        """Take no more runs, and end the one at work in good order; it says itself how it ended."""
        self._is_stopping = True
        await asyncio.to_thread(processes.end, set(self._at_work))

    async def _end_if_forgotten(self, run_id: UUID) -> None:
        """Cancel a run whose cancelling Prefect has missed, as it does where the server was away for long."""
        run = await self.client.read_flow_run(run_id)
        if is_forgotten(run.state, now("UTC")):
            await asyncio.to_thread(processes.end, {run_id})
            message = "the run was cancelled after the server had been away"
            await self.client.set_flow_run_state(run_id, Cancelled(message=message), force=True)

    async def _explain_waiting(self, taken: set[UUID]) -> None:
        due = await self.client.get_scheduled_flow_runs_for_work_pool(POOL, scheduled_before=now("UTC"))
        waiting = [
            entry.flow_run
            for entry in due
            if entry.flow_run.id not in taken and entry.flow_run.state_name in _UNEXPLAINED
        ]
        if not waiting:
            return
        at_work = await asyncio.to_thread(_at_work)
        if not at_work:  # it has ended, and only its process has not yet
            return
        for run in waiting:
            state: State = Scheduled(
                name=WAITING,
                message=f"one run at a time: this one begins when {at_work} has ended",
                scheduled_time=run.next_scheduled_start_time,
            )
            await self.client.set_flow_run_state(run.id, state)


def is_forgotten(state: State | None, time: datetime) -> bool:
    """Whether a run is cancelling for longer than Prefect takes, which kills it after half a minute."""
    return state is not None and state.type == StateType.CANCELLING and time - state.timestamp > _CANCELLING


def _conclude_called() -> None:
    with get_client(sync_client=True) as client:
        conclude_called(client)


def _at_work() -> str:
    with get_client(sync_client=True) as client:
        return ", ".join(f"'{run.name}'" for run in unfinished(client))


async def _work(worker: Worker) -> None:
    """Work until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    working = asyncio.create_task(worker.start(printer=_say))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
        return
    _say("Stopping: the run at work has half a minute to end in good order.")
    await worker.drain()
    working.cancel()
    await asyncio.wait({working})


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Be this host's worker until SIGTERM or SIGINT."""
    require_server()
    host = socket.gethostname()
    with alone():
        reap(host)
        try:
            asyncio.run(_work(Worker(host)))
        finally:
            try:
                reap(host)
            except httpx.HTTPError as error:
                _say(f"The server cannot be told how the last run ended ({error}); the next worker will.")


if __name__ == "__main__":
    main()
