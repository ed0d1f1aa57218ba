"""A Prefect server for one command, started so that Ctrl-C ends the run first and the server after it."""

import atexit
import logging
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import prefect
from prefect.context import refresh_global_settings_context
from prefect.settings import get_current_settings

from deployments.processes import end_with_parent
from deployments.settings import HOST

_PAUSE_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 5.0
_FOR_A_COMMAND: Final = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}
"""As Prefect starts its own temporary server, for which it would import all of the server into this process:
2.5 s of CPU and 80 MiB."""


def start_temporary_server() -> None:
    """Start a Prefect server that ends with this process, unless there is another one to use.

    The terminal sends Ctrl-C, and programs such as `timeout` send SIGTERM, to all processes of a command. The
    server must not end by it: the client would try for minutes to report the end of the run to it. So it has
    a session of its own.

    Raises:
        RuntimeError: it does not start.
    """
    settings = get_current_settings()
    if settings.api.url:
        return
    logging.getLogger("prefect").info("Starting a temporary Prefect server ...")
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    folder = str(Path(prefect.__file__).parents[1])
    uvicorn = ("-m", "uvicorn", "--app-dir", folder, "--factory", "prefect.server.api.server:create_app")
    options = ("--host", HOST, "--port", str(port), "--log-level", "error", "--lifespan", "on")
    server = subprocess.Popen(  # noqa: S603 - arguments of our own
        [sys.executable, *uvicorn, *options],
        env=os.environ | _FOR_A_COMMAND,
        start_new_session=True,
        preexec_fn=end_with_parent,  # noqa: PLW1509 - there are no threads
    )
    atexit.register(_stop, server)
    # Counted, not timed: on a busy machine, the server gets as little of it as this process.
    tries = round(settings.server.ephemeral.startup_timeout_seconds / _PAUSE_SECONDS)
    while not _answers(port):
        tries -= 1
        if server.poll() is not None or not tries:
            raise RuntimeError(
                f"Prefect's temporary server does not start, see above. Its files are in {settings.home}."
            )
        time.sleep(_PAUSE_SECONDS)
    os.environ |= {"PREFECT_API_URL": f"http://{HOST}:{port}/api", "PREFECT_UI_URL": ""}
    refresh_global_settings_context()


def _answers(port: int) -> bool:
    with suppress(OSError, HTTPException):
        connection = HTTPConnection(HOST, port, timeout=10)
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    return False


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
