"""Filters for the log lines that Prefect writes about runs. `logging.yml` names them."""

import logging
import sys
from typing import Final

from bigearthnet.errors import BigEarthNetError

_TEMPORARY_SERVER: Final = "Starting temporary server"
_WITHOUT_NEWS: Final = (
    "Beginning flow run",
    "Created task run",
    "Finished in state",  # the UI shows states; the error of a failed run has a line of its own
    "Stopping temporary server",
    "Running 1 deployment pull step",
    "Executing deployment step",
    "Deployment step 'set_working_directory' completed",
    "All deployment steps completed",
)
_AGAIN: Final = "Engine execution exited with unexpected exception"
"""Logged by the process of a worker's run, after the flow has logged its error."""
_CRASH: Final = "Crash detected!"


class RunLines(logging.Filter):
    """Drops lines without news, and writes an expected error as one line.

    The traceback of a `BigEarthNetError` is logged at the level DEBUG only. A run that was cancelled or
    interrupted is not logged as a crash.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a line to drop."""
        message = record.getMessage()
        if message.startswith(_WITHOUT_NEWS):
            return False
        if message.startswith(_TEMPORARY_SERVER):
            record.msg, record.args = "Starting a temporary Prefect server ...", ()
        of_task = record.name.startswith("prefect.task_runs")
        if message.startswith(_CRASH) and _is_interrupted():
            record.msg, record.args = "Interrupted.", ()
            record.levelno, record.levelname = logging.INFO, "INFO"
            return not of_task
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, BigEarthNetError) and record.levelno >= logging.ERROR:
            record.msg, record.args = str(error), ()
            if not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
                record.exc_info = record.exc_text = None
            return not of_task and not message.startswith(_AGAIN)  # the flow logs the same error
        return True


def _is_interrupted() -> bool:
    """Tell if the exception that is being handled asks the process to end: Ctrl-C, or SIGTERM."""
    error = sys.exc_info()[1]
    return error is not None and not isinstance(error, Exception)
