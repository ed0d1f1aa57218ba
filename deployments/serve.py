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
from pathlib import Path
from typing import IO, Any, Final

from deployments import processes
from deployments.output import say
from deployments.settings import HOST, POOL, ROOT, apply, environment

_WORKER: Final = ("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1")
_END_SECONDS: Final = 8.0
_SHORT_SECONDS: Final = 10.0
_SHORT_LIVES: Final = 3
_LOG_LINES: Final = 20


class ServeError(RuntimeError):
    """The server or the worker cannot be started, or does not stay up."""


class Service:
    """A Python module that runs as a process of its own and logs to a file in PREFECT_HOME."""

    def __init__(
        self, name: str, module: Sequence[str], settings: Mapping[str, str], umask: int = -1
    ) -> None:
        self.name = name
        self.log = Path(settings["PREFECT_HOME"]) / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._module = module
        self._options = {"env": settings, "umask": umask}
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
                self.process = _run_module(self._module, stdout=log, stderr=log, **self._options)

    def error(self) -> ServeError:
        """Return an error that shows the end of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return ServeError("\n".join((*lines, f"The {self.name} ended. Its log is {self.log}.")))


def serve(port: int) -> None:
    """Run server and worker until SIGINT or SIGTERM.

    Raises:
        ServeError: the port is taken, `serve` is running already, or a part does not start or stay up.
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
            _supervise(server, worker, settings)
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
            raise server.error()
        time.sleep(0.2)
    if deploy.returncode:
        raise ServeError("The deployments could not be created; see above.")
    worker.start()


def _supervise(server: Service, worker: Service, settings: Mapping[str, str]) -> None:
    """Start again what ends, unless it ends again and again soon after its start."""
    short = 0
    while True:
        began = time.monotonic()
        while server.is_up and worker.is_up:
            time.sleep(0.5)
        ended = worker if server.is_up else server
        short = short + 1 if time.monotonic() - began < _SHORT_SECONDS else 0
        if short == _SHORT_LIVES:
            raise ended.error()
        say(f"The {ended.name} ended and is started again. Its log is {ended.log}.")
        if not worker.is_up:  # the next one does not know its run
            processes.end(lambda: _below(server, worker), processes.RUN_END_SECONDS)
        _start(server, worker, settings)


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
    except BlockingIOError as error:
        raise ServeError(f"`make serve` is running already (lock {file.name}). Stop it first.") from error
    return file


def _require_free(port: int) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ServeError(
            f"Port {port} is not free. "
            "Stop the program that uses it, or choose another port: make serve PORT=4201"
        ) from error
