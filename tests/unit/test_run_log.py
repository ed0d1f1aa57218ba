"""What the log of a run says, with the loggers and filters of logging.yml."""

import logging

import pytest
import yaml

from bigearthnet.errors import SourceError
from deployments.run_log import RunLines
from deployments.settings import project_file

FLOW, TASK = logging.getLogger("prefect.flow_runs"), logging.getLogger("prefect.task_runs")


@pytest.fixture(autouse=True)
def filtered(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "prefect")
    for logger in (FLOW, TASK):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "filters", [RunLines()])


def fail(error: BaseException, logger: logging.Logger, message: str) -> None:
    """Log an error as Prefect's engines do: while it is handled."""
    try:
        raise error
    except BaseException:
        logger.exception(message)


@pytest.mark.parametrize(
    "message",
    [
        "Finished in state Completed()",
        "Finished in state Failed('x')",
        "Beginning flow run 'a'",
        "Executing deployment step: set_working_directory",
    ],
)
def test_lines_without_news_are_dropped(caplog: pytest.LogCaptureFixture, message: str) -> None:
    TASK.info(message)
    TASK.info("4 of 4 tiles finished")
    assert caplog.messages == ["4 of 4 tiles finished"]


def test_an_expected_error_is_one_line_with_a_traceback_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    error = SourceError("there is no folder /x. Name another one.")
    fail(error, TASK, "Task run failed with exception: SourceError(...) - Retries are exhausted")
    fail(error, FLOW, "Encountered exception during execution: SourceError(...)")
    fail(error, FLOW, "Engine execution exited with unexpected exception")  # in the process of a worker's run
    (record,) = caplog.records
    assert (record.levelname, record.message, record.exc_info) == ("ERROR", str(error), None)
    caplog.set_level(logging.DEBUG, "prefect")
    fail(error, FLOW, "Encountered exception during execution")
    assert "Traceback" in caplog.text


def test_other_errors_keep_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    fail(KeyError("x"), FLOW, "Encountered exception during execution: KeyError('x')")
    assert caplog.messages == ["Encountered exception during execution: KeyError('x')"]
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), [("INFO", "Interrupted.")]),
        (MemoryError(), [("ERROR", "Crash detected! x")] * 2),
    ],
)
def test_only_a_crash_is_logged_as_one(
    caplog: pytest.LogCaptureFixture, error: BaseException, said: list[tuple[str, str]]
) -> None:
    try:
        raise error
    except BaseException:
        TASK.error("Crash detected! x")
        FLOW.error("Crash detected! x")
    assert [(record.levelname, record.message) for record in caplog.records] == said


def test_the_loggers_of_runs_have_the_filter() -> None:
    config = yaml.safe_load(project_file("deployments/logging.yml").read_text())
    assert config["filters"]["run_lines"] == {"()": "deployments.run_log.RunLines"}
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        assert config["loggers"][name]["filters"] == ["run_lines"]
