"""What is printed, and what is left out of the logs."""

import logging
import sys


class WithoutRoutine(logging.Filter):
    """Leaves out that a task has completed: the line does not name the task."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell if a record is logged."""
        return record.getMessage() != "Finished in state Completed()"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
