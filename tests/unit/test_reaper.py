"""Which runs are dead, and what is to be said of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from deployments.reaper import left_behind, lives_with_its_caller, verdict
from deployments.worker import is_forgotten


def run(**facts: Any) -> FlowRun:
    return FlowRun.model_validate({"flow_id": uuid4(), **facts})


def test_runs_of_this_host_are_left_behind_and_those_of_others_are_not() -> None:
    mine, other = run(labels={"prefect.worker.name": "here"}), run(labels={"prefect.worker.name": "there"})
    assert left_behind([mine, other], "here") == [mine]


def test_a_run_that_was_on_its_way_to_a_worker_is_left_behind() -> None:
    nobodys = run(labels={"prefect.flow.id": "x"})
    assert left_behind([nobodys], "here") == [nobodys]


@pytest.mark.parametrize("type_", [StateType.RUNNING, StateType.PENDING])
def test_a_run_without_process_is_crashed(type_: StateType) -> None:
    found = verdict(State(type=type_), "the reason")
    assert found is not None
    assert (found.type, found.message) == (StateType.CRASHED, "the reason")


def test_a_run_that_was_to_be_cancelled_is_cancelled() -> None:
    found = verdict(State(type=StateType.CANCELLING), "the reason")
    assert found is not None
    assert (found.type, found.message) == (StateType.CANCELLED, "the reason")


@pytest.mark.parametrize(
    "type_",
    [
        StateType.COMPLETED,
        StateType.FAILED,
        StateType.CANCELLED,
        StateType.CRASHED,
        StateType.SCHEDULED,
        StateType.PAUSED,
    ],
)
def test_what_a_run_has_said_itself_stands(type_: StateType) -> None:
    assert verdict(State(type=type_), "the reason") is None


def test_a_run_that_was_called_lives_with_its_caller_and_a_deployed_one_does_not() -> None:
    assert lives_with_its_caller(run(parent_task_run_id=uuid4()))
    assert not lives_with_its_caller(run(parent_task_run_id=uuid4(), deployment_id=uuid4()))
    assert not lives_with_its_caller(run())


def test_a_run_is_forgotten_that_is_cancelling_for_longer_than_prefect_takes() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    cancelling = State(type=StateType.CANCELLING, timestamp=began)
    assert not is_forgotten(cancelling, began + timedelta(seconds=30))
    assert is_forgotten(cancelling, began + timedelta(seconds=41))
    assert not is_forgotten(State(type=StateType.RUNNING, timestamp=began), began + timedelta(hours=1))
    assert not is_forgotten(None, began)
