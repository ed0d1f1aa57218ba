"""Server, deployments and worker, until Ctrl-C or SIGTERM: `python -m deployments.serve`.

A server or worker that ends is started again. They log to server.log and worker.log in PREFECT_HOME.
"""

import argparse
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deployments import processes
from deployments.settings import HOST, POOL, ROOT, apply, environment

_SERVER: Final = ("prefect", "server", "start")
_DEPLOY: Final = ("deployments.deploy",)
_WORKER: Final = ("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1")
_RUN_END_SECONDS: Final = 40.0
_SERVER_END_SECONDS: Final = 15.0
_SHORT_SECONDS: Final = 10.0
_SHORT_LIVES: Final = 3
_LOG_LINES: Final = 20


class ServeError(RuntimeError):
    """The server or the worker cannot be started, or does not stay up."""


class Service:
    """A Python module that runs in a session of its own, so that Ctrl-C reaches `serve` alone.

    Args:
        name: for messages, and of the log file. The log of the time before is kept beside it.
        module: the module and its arguments.
        settings: environment variables.
        umask: of the process; -1 for that of `serve`.
    """

    def __init__(
        self, name: str, module: Sequence[str], settings: Mapping[str, str], umask: int = -1
    ) -> None:
        self.name = name
        self.log = Path(settings["PREFECT_HOME"]) / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = module
        self._options: dict[str, Any] = {"env": settings, "umask": umask}
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
                self.process = run_module(self._arguments, stdout=log, stderr=log, **self._options)

    def failed(self) -> ServeError:
        """Return an error that shows the end of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return ServeError("\n".join((*lines, f"The {self.name} ended. Its log is {self.log}.")))


def run_module(module: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a Python module as a process that gets SIGTERM when this one is killed."""
    return subprocess.Popen(  # noqa: S603 - arguments of our own
        (sys.executable, "-m", *module),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=processes.end_with_parent,  # noqa: PLW1509 - there are no threads
        **options,
    )


def serve(port: int) -> None:
    """Run server and worker until SIGINT or SIGTERM.

    Raises:
        ServeError: the port is taken, `serve` is running already, or a part does not start or stay up.
    """
    apply()
    settings = environment(port, os.environ)
    with _alone(Path(settings["PREFECT_HOME"])):
        _require_free(port)
        processes.adopt_orphans()
        server = Service("server", _SERVER, settings, umask=0o077)
        worker = Service("worker", (*_WORKER, "--name", socket.gethostname()), settings)
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            _start(server, worker, settings)
            _say(f"\nPrefect is at {settings['PREFECT_UI_URL']}")
            _say(f"Log in with {settings['PREFECT_SERVER_API_AUTH_STRING']}")
            _say(f"Runs log to {worker.log}. Press Ctrl-C to end everything.")
            _supervise(server, worker, settings)
        except KeyboardInterrupt:
            _say("\nEnding the worker and its run, then the server ...")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            processes.end(lambda: _below(server), _RUN_END_SECONDS)
            processes.end(_below, _SERVER_END_SECONDS)
            signal.signal(signal.SIGTERM, previous)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _say("Everything has ended.")


def _start(server: Service, worker: Service, settings: Mapping[str, str]) -> None:
    """Start what is not running: the server, then the deployments, then the worker.

    Raises:
        ServeError: the server ends, or the deployments cannot be created.
    """
    if not server.is_up:
        _say(f"Starting the Prefect server ... It logs to {server.log}.")
    server.start()
    deploy = run_module(_DEPLOY, env=settings)
    while deploy.poll() is None:
        if not server.is_up:
            raise server.failed()
        time.sleep(0.2)
    if deploy.returncode:
        raise ServeError("The deployments could not be created; see above.")
    worker.start()


def _supervise(server: Service, worker: Service, settings: Mapping[str, str]) -> None:
    """Start again what ends.

    Raises:
        ServeError: one ends again and again, soon after its start.
    """
    short = 0
    while True:
        began = time.monotonic()
        while server.is_up and worker.is_up:
            time.sleep(0.5)
        ended = worker if server.is_up else server
        short = short + 1 if time.monotonic() - began < _SHORT_SECONDS else 0
        if short == _SHORT_LIVES:
            raise ended.failed()
        _say(f"The {ended.name} ended and is started again. Its log is {ended.log}.")
        if not worker.is_up:  # a new worker knows nothing of the run
            processes.end(lambda: _below(server), _RUN_END_SECONDS)
        _start(server, worker, settings)


def _below(*without: Service) -> set[int]:
    """Return the living processes below this one, except those of some services."""
    found = processes.descendants(os.getpid())
    for service in without:
        if service.is_up and service.process:
            found -= {service.process.pid, *processes.descendants(service.process.pid)}
    return found


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold a lock in `home`, which ends with this process."""
    path = home / "serve.lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServeError(f"`make serve` is running already (lock {path}). Stop it first.") from error
        yield


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServeError(
                f"Port {port} is not free: {error.strerror}. "
                "Stop the program that uses it, or choose another port: make serve PORT=4201"
            ) from error


def _interrupt(*_signal: object) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m deployments.serve", description="Server, UI and worker.")
    parser.add_argument(
        "--port", type=int, default=4200, help="port of server and UI on 127.0.0.1 (%(default)s)"
    )
    try:
        serve(parser.parse_args(arguments).port)
    except ServeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
