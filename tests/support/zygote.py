"""Runs of flows in processes of their own, which may kill themselves at a given step.

The fork server of `multiprocessing` imports everything once and forks a child for each run:

    with Zygote(folder / "steps") as zygote:
        assert zygote.run("prepare", Kill(at=1, match="rename .*/dataset.json"), **parameters) == KILLED
"""

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.fetch import fetch
from flows.prepare import prepare
from flows.subset import subset
from tests.support.published import CARD
from tests.support.runs import hurry

KILLED = -signal.SIGKILL

_FLOWS = {"prepare": prepare, "fetch": fetch, "subset": subset}
_CHANGES = {"os.rename": 1, "os.remove": 0, "os.link": 1, "os.mkdir": 0, "os.rmdir": 0}
"""Audit events that change a folder, and which of their arguments is the path that is changed."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_S3_WRITES = re.compile(r"(PUT|POST|DELETE) ")


@dataclass(frozen=True, slots=True)
class Kill:
    """A run kills itself before the step of this number (from 1) among those that match.

    A step is a change to a folder, such as `rename /path`, the second half of a `copy`, or a request that
    changes a bucket, such as `PUT /bucket/key`.
    """

    at: int
    match: str = ""
    by: signal.Signals = signal.SIGKILL


def steps_to_kill_at(steps: Sequence[str], window: int, every: int) -> list[int]:
    """Numbers of steps: one of so many, and from `window` on the first and last of those that are alike."""
    kinds = ["", *map(_kind, steps), ""]
    last = [at for at in range(window, len(steps) + 1) if kinds[at - 1 : at + 2] != [kinds[at]] * 3]
    return [*range(every, window, every), *last]


def _kind(step: str) -> object:
    """What a step does, and whether it does so to the card, or to an unpublished tile."""
    verb, _, path = step.partition(" ")
    return verb, path.endswith(f"/{CARD}"), "/.tiles/" in path, re.findall(r"[?&](\w+)", path)


class Zygote:
    """One run at a time; those that come to their end list their steps in a file.

    `change` is called in each child before its run, and can be pickled.
    """

    def __init__(self, steps_file: Path, change: Callable[[], object] | None = None) -> None:
        self._steps_file = steps_file
        self._change = change
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """No run is left."""
        self._process.kill()

    def begin(self, flow: str, kill: Kill | None, root: Path, **parameters: Any) -> int:
        """Begin a run; steps are counted below `root`. Returns its process id."""
        wanted = (PREFECT_API_URL.value(), flow, parameters, str(root), kill, self._steps_file)
        self._process = self._context.Process(target=_run, args=wanted, kwargs={"change": self._change})
        self._process.start()
        assert self._process.pid is not None
        return self._process.pid

    def end(self, seconds: float | None = None) -> int:
        """Wait for the run's end, at most so long; returns its exit status, negative for a signal."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"the run did not end within {seconds} s"
        return self._process.exitcode

    def ends_within(self, seconds: float) -> bool:
        self._process.join(seconds)
        return self._process.exitcode is not None

    def run(self, flow: str, kill: Kill | None, root: Path, **parameters: Any) -> int:
        self.begin(flow, kill, root, **parameters)
        return self.end()

    @property
    def steps(self) -> list[str]:
        """The steps of the last run that came to its end."""
        return self._steps_file.read_text().splitlines()


class _Steps:
    """An audit hook that lists the steps of a run, and kills it at the chosen one."""

    def __init__(self, root: str, kill: Kill | None) -> None:
        self._root = root
        self._kill = kill
        self._count = 0
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(arguments[2], int) and arguments[2] & _WRITING:
                self._change("open", arguments[0], -1)
        elif event in _CHANGES:
            path = arguments[_CHANGES[event]]
            if event != "os.remove" or os.path.lexists(path) or arguments[-1] != -1:
                self._change(event.removeprefix("os."), path, arguments[-1])
        elif event == "http.client.send" and isinstance(arguments[1], bytes):
            line = arguments[1].split(b" HTTP", 1)[0].decode("latin-1")
            if _S3_WRITES.match(line):
                self.step(line)

    def step(self, what: str) -> None:
        with self._lock:
            self.seen.append(what)
            if self._kill is not None and re.search(self._kill.match, what):
                self._count += 1
                if self._count == self._kill.at:
                    os.kill(os.getpid(), self._kill.by)

    def _change(self, what: str, path: object, folder: object) -> None:
        inside = folder != -1  # rmtree removes files by their names in an open folder
        if isinstance(path, (str, Path)) and (str(path).startswith(self._root) or inside):
            self.step(f"{what} {path}")


def _copy_in_halves(steps: _Steps) -> Callable[..., int]:
    copy = os.copy_file_range

    def half(source: int, target: int, count: int, **options: Any) -> int:
        done = copy(source, target, max(count // 2, 1), **options)
        steps.step("copy")
        return done

    return half


def _run(
    api_url: str,
    flow: str,
    parameters: dict[str, Any],
    root: str,
    kill: Kill | None,
    steps_file: Path,
    *,
    change: Callable[[], object] | None,
) -> None:
    """In the child: run, and die when it is time."""
    hurry(setattr, stall_seconds=300)  # a run that stalls is killed by its test
    if change is not None:
        change()
    steps = _Steps(root, kill)
    os.copy_file_range = _copy_in_halves(steps)
    sys.addaudithook(steps)
    with temporary_settings({PREFECT_API_URL: api_url, PREFECT_LOGGING_TO_API_ENABLED: False}):
        _FLOWS[flow](**parameters)
    steps_file.write_text("\n".join(steps.seen))
