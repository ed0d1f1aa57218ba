"""Server, deployments and worker with one command, until Ctrl-C: `python -m deployments.serve`.

A server or worker that dies is started again; the worker tells the truth about the run it had. What they
print goes to server.log and worker.log in PREFECT_HOME.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from deployments.parts import Part, PartError, Stopped
from deployments.settings import HOST, POOL, environment

_DEATHS = 5
_LIFE_SECONDS = 3.0
"""So many deaths in a row, each so soon after all was up, are too many to start what died again."""


class House:
    """Server and worker of this host."""

    def __init__(self, port: int, stop: asyncio.Event) -> None:
        settings = environment(port, os.environ)
        home = Path(settings["PREFECT_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        self.url = f"http://{HOST}:{port}"
        self._stop = stop
        self._server = Part("server", ("prefect", "server", "start"), settings, home)
        self._deploy = Part("deploy", ("deployments.deploy",), settings, home)
        self._worker = Part("worker", ("deployments.worker",), settings, home)

    async def run(self) -> None:
        """Start everything, say so, and keep it running until it is to stop.

        Raises:
            Stopped: it is to stop.
            PartError: a part does not start, or dies again and again.
        """
        async with AsyncExitStack() as stack:  # what is started last ends first
            stack.push_async_callback(self._server.end)
            await self._start_server()
            stack.push_async_callback(self._deploy.end)
            await self._deploy.start()
            await self._deploy.completes(self._stop)
            stack.push_async_callback(self._worker.end)
            await self._start_worker()
            _say(f"Everything is up: {self.url}\nRuns log to {self._worker.log}; Ctrl-C ends everything.")
            await self._keep()

    async def _start_server(self) -> None:
        _say("Starting the server ...")
        await self._server.start()
        await self._server.answers(f"{self.url}/api/health", None, self._stop)

    async def _start_worker(self) -> None:
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        await self._worker.start()
        heard = {"workers": {"last_heartbeat_time": {"after_": began}, "status": {"any_": ["ONLINE"]}}}
        await self._worker.answers(f"{self.url}/api/work_pools/{POOL}/workers/filter", heard, self._stop)

    async def _keep(self) -> None:
        early = 0
        while True:
            up = time.monotonic()
            dead = await self._deaths()
            early = early + 1 if time.monotonic() - up < _LIFE_SECONDS else 0
            if early == _DEATHS:
                logs = " and ".join(str(part.log) for part in dead)
                raise PartError(
                    f"expected server and worker to live, found them dead {_DEATHS} times, each within "
                    f"{_LIFE_SECONDS:.0f} s; see {logs}"
                )
            for part, start in ((self._server, self._start_server), (self._worker, self._start_worker)):
                if part in dead:  # the server first: the worker needs it
                    _say(f"The {part.name} has ended, and is started again.")
                    await start()

    async def _deaths(self) -> set[Part]:
        """Wait until something has ended."""
        waits = {asyncio.create_task(part.ends()): part for part in (self._server, self._worker)}
        stop = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait({*waits, stop}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*waits, stop):
            task.cancel()
        if stop in done:
            raise Stopped
        return {part for task, part in waits.items() if task in done}


def require_free(port: int) -> None:
    """Exit unless the port is free.

    Raises:
        PartError: another program listens on it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PartError(
                f"expected port {port} of {HOST} to be free, found: {error.strerror}; "
                "stop the program that uses it, or choose another one with --port"
            ) from error


async def _serve(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    require_free(port)
    house = House(port, stop)
    try:
        await house.run()
    finally:
        if stop.is_set():
            _say("Everything has ended.")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m deployments.serve", description="Server, UI and worker.")
    parser.add_argument("--port", type=int, default=4200, help="of server and UI on 127.0.0.1 (%(default)s)")
    try:
        with suppress(Stopped):
            asyncio.run(_serve(parser.parse_args(arguments).port))
    except PartError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
