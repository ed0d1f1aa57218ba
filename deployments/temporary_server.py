"""Prefect's temporary server, started so that Ctrl-C ends the run first and the server after it."""

import signal
import subprocess
import threading
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings


class _Server(SubprocessASGIServer):
    """Fails if its process ends while it starts; Prefect would start another one again and again."""

    def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
        if self.server_process is not None:
            home = get_current_settings().home
            raise RuntimeError(
                f"Prefect's temporary server does not start, see above. Its files are in {home}."
            )
        return super()._run_uvicorn_command()


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
            _Server().start()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start, name="temporary server", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
