"""The processes that `serve` keeps: started in a session of their own, heard, and ended."""

import asyncio
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

_START_SECONDS = 180.0
_END_SECONDS = 60.0
_LINES_TOLD = 20


class Stopped(BaseException):
    """The person has ended everything."""


class PartError(RuntimeError):
    """Something does not start, or does not go on."""


class Part:
    """A Python module that runs as a process.

    Args:
        name: for messages, and of the log file; the log of the time before is kept beside it.
        module: the module and its arguments.
        environment: of the process.
        home: folder of the log file.
    """

    def __init__(self, name: str, module: Sequence[str], environment: Mapping[str, str], home: Path) -> None:
        self.name = name
        self.log = home / f"{name}.log"
        self._command = (sys.executable, "-m", *module)
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".before.log"))

    async def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the parts in order
            )

    async def ends(self) -> int:
        """Wait for its end; returns its exit status."""
        return await self._started.wait()

    async def completes(self, stop: asyncio.Event) -> None:
        """Wait for it to do its work.

        Raises:
            PartError: it fails.
            Stopped: `stop` was set.
        """
        while self._started.returncode is None:
            await _pause(stop)
        if self._started.returncode:
            raise self._failed()

    async def answers(self, url: str, question: object, stop: asyncio.Event) -> None:
        """Wait until the server answers with something to the question, None for a plain GET.

        Raises:
            PartError: the process ends, or there is no answer in three minutes.
            Stopped: `stop` was set.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not await asyncio.to_thread(_ask, url, question):
            if self._started.returncode is not None or time.monotonic() > deadline:
                raise self._failed()
            await _pause(stop)

    async def end(self) -> None:
        """End it and what it has started, by force after a minute."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise PartError(f"expected the {self.name} to be started before anything is asked of it")
        return self._process

    def _failed(self) -> PartError:
        lines = self.log.read_text(errors="replace").splitlines()[-_LINES_TOLD:]
        told = "".join(f"  {line}\n" for line in lines)
        return PartError(f"{told}expected the {self.name} to start, found the above in {self.log}")


async def _pause(stop: asyncio.Event) -> None:
    """A fifth of a second.

    Raises:
        Stopped: `stop` was set.
    """
    try:
        await asyncio.wait_for(stop.wait(), 0.2)
    except TimeoutError:
        return
    raise Stopped


def _ask(url: str, question: object) -> bool:
    data = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - our own server's
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(json.load(answer))
    except (OSError, ValueError):  # not listening yet, or not ready
        return False
