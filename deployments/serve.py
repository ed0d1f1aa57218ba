"""Server, deployments and worker, until Ctrl-C or SIGTERM: `bigearthnet serve`.

A server or worker that ends is started again. They log to server.log and worker.log in PREFECT_HOME.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any, Final

from pydantic import Field

from deployments import processes
from deployments.settings import HOST, POOL, PORT, ROOT, apply, environment

_WORKER: Final = ("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1")
_END_SECONDS: Final = 8.0
_LOG_LINES: Final = 20

say = partial(print, flush=True)


class Service:
    """A Python module that runs as a process of its own and logs to a file in PREFECT_HOME."""

    def __init__(
        self, name: str, module: Sequence[str], settings: Mapping[str, str], umask: int = -1
    ) -> None:
        self.name = name
        self.log = Path(settings["PREFECT_HOME"]) / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._run = partial(_run_module, module, env=settings, umask=umask)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".before.log"))

    @property
    def is_up(self) -> bool:
        """Tell if the process is running."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process unless it is running."""
        if not self.is_up:
            with self.log.open("ab") as log:
                self.process = self._run(stdout=log, stderr=log)


def serve(*, port: Annotated[int, Field(ge=1, le=65535)] = PORT) -> None:
    """Run Prefect's server and web UI, the deployments and a worker on 127.0.0.1, until Ctrl-C.

    Args:
        port: Port of the server and the UI.
    """
    apply()
    settings = environment(port, os.environ)
    with _lock(Path(settings["PREFECT_HOME"])):
        _require_free(port)
        processes.adopt_orphans()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        server = Service("server", ("prefect", "server", "start"), settings, umask=0o077)
        worker = Service("worker", (*_WORKER, "--name", socket.gethostname()), settings)
        try:
            _start(server, worker, settings)
            say(f"\nPrefect is at {settings['PREFECT_UI_URL']}")
            say(f"Log in with {settings['PREFECT_SERVER_API_AUTH_STRING']}")
            say(f"Runs log to {worker.log}. Press Ctrl-C to end everything.")
            while True:
                while server.is_up and worker.is_up:
                    time.sleep(0.5)
                ended = worker if server.is_up else server
                say(f"The {ended.name} ended and is started again. Its log is {ended.log}.")
                if not worker.is_up:  # the next one does not know its run
                    processes.end(lambda: _below(server, worker), processes.RUN_END_SECONDS)
                _start(server, worker, settings)
        except KeyboardInterrupt:
            say("\nEnding the run, the worker and the server ...")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            processes.end(lambda: _below(server, worker), processes.RUN_END_SECONDS)
            processes.end(lambda: _below(server), _END_SECONDS)
            processes.end(_below, _END_SECONDS)
        say("Everything has ended.")


def _start(server: Service, worker: Service, settings: Mapping[str, str]) -> None:
    """Start what is not running: the server, then the deployments, then the worker."""
    if not server.is_up:
        say(f"Starting the Prefect server ... It logs to {server.log}.")
        server.start()
    deploy = _run_module(("deployments.cli", "deploy"), env=settings)  # waits for the server
    while deploy.poll() is None:
        if not server.is_up:
            lines = server.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            sys.exit("\n".join((*lines, f"The server ended. Its log is {server.log}.")))
        time.sleep(0.2)
    if deploy.returncode:
        sys.exit("The deployments could not be created; see above.")
    worker.start()


def _run_module(module: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - arguments of our own
        (sys.executable, "-m", *module),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches `serve` alone, which ends the others in order
        preexec_fn=processes.end_with_parent,  # noqa: PLW1509 - there are no threads
        **options,
    )


def _below(*without: Service) -> set[int]:
    """Return the ids of the living processes below this one, except those of some services."""
    return processes.descendants(os.getpid()) - {one.process.pid for one in without if one.process}


def _lock(home: Path) -> IO[str]:
    file = (home / "serve.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with this process
    except BlockingIOError:
        sys.exit(f"`make serve` is running already (lock {file.name}). Stop it first.")
    return file


def _require_free(port: int) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        sys.exit(
            f"Port {port} is not free. "
            "Stop the program that uses it, or choose another port: make serve PORT=4201"
        )
