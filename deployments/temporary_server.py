"""Prefect's temporary server, started so that Ctrl-C ends the run first and the server after it."""

import signal
import threading

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings


def start_temporary_server() -> None:
    """Start Prefect's temporary server, unless there is another one to use.

    The terminal sends Ctrl-C to every process of a command. The server must not end by it: the client would
    try for minutes to report the end of the run to it. It inherits the blocked signal from a thread, so that
    Ctrl-C is not blocked for this process. Prefect stops the server when this process exits.

    Raises:
        RuntimeError: it does not start.
    """
    if get_current_settings().api.url:
        return
    errors: list[RuntimeError] = []

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            SubprocessASGIServer().start()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start, name="temporary server", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
