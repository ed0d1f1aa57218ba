"""What is left out of the log in the UI."""

import logging


class WithoutRoutine(logging.Filter):
    """Leaves out that a task has ended well: the line names no task, and the page shows it anyway."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is sent."""
        return record.getMessage() != "Finished in state Completed()"
