"""Runs of `prepare` in this process, and what Prefect's API tells of them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

from flows.prepare import prepare

DEADLINE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Place:
    """A work folder and a destination."""

    work: Path
    destination: Path

    @classmethod
    def below(cls, folder: Path) -> Self:
        return cls(folder / "work", folder / "dataset")

    def files(self, pattern: str) -> list[str]:
        """Names in the work folder that match."""
        return sorted(str(path.relative_to(self.work)) for path in self.work.glob(pattern))


@dataclass(frozen=True, slots=True)
class TaskRuns:
    """Name and last state of each task run of a run, such as `("convert <tile>", "Cached")`."""

    runs: tuple[tuple[str, str], ...]

    def of(self, task: str) -> list[str]:
        """The states that the runs of a task ended in."""
        return [state for name, state in self.runs if name.split()[0] == task]

    def named(self, task: str, state: str = "Completed") -> list[str]:
        """What the runs of a task that ended in `state` worked on: tiles, files."""
        return sorted(
            name.split()[1] for name, found in self.runs if name.split()[0] == task and found == state
        )


def start(source: str | Path, place: Place, **parameters: Any) -> dict[str, Any]:
    """Run `prepare`; raises what it raises."""
    done: dict[str, Any] = prepare(**_with_folders(source, place, parameters))
    return done


def observed(source: str | Path, place: Place, **parameters: Any) -> TaskRuns:
    """Run `prepare` to its good end, and ask Prefect what its tasks did."""
    state: Any = prepare(return_state=True, **_with_folders(source, place, parameters))
    state.result()  # raises what the run raised
    runs = _task_runs(state.state_details.flow_run_id)
    return TaskRuns(tuple(sorted((run.name, run.state_name or "") for run in runs)))


def _with_folders(source: str | Path, place: Place, parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters; a destination among them, such as one in a bucket, counts instead of the folder."""
    folders = {"destination": str(place.destination), "work_dir": str(place.work)}
    return {"source": str(source), **folders, **parameters}


def _task_runs(flow_run: UUID) -> list[TaskRun]:
    """The task runs of a run; the server hears of them by events, which may still be on their way."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    deadline = time.monotonic() + DEADLINE_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            runs = client.read_task_runs(flow_run_filter=only)
            if _have_ended(runs):
                return runs
            time.sleep(0.05)
    raise TimeoutError(f"the server has not heard of the end of {flow_run}: {runs}")


def _have_ended(runs: Iterable[TaskRun]) -> bool:
    states = {run.name: run.state for run in runs}
    return "report" in states and all(state is not None and state.is_final() for state in states.values())
