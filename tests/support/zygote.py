"""Runs of flows in processes of their own, which may kill themselves at a given step.

A helper process imports everything once and forks a child for each run. It is asked by lines of JSON, and
answers with lines of numbers:

    with Zygote(folder / "log") as zygote:
        assert zygote.run("prepare", Kill(at=1, match="rename .*/dataset.json"), **parameters) == KILLED
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prefect.settings import PREFECT_API_URL

from flows.fetch import fetch
from flows.prepare import prepare
from tests.support.runs import hurry

KILLED = -signal.SIGKILL

_FLOWS = {"prepare": prepare, "fetch": fetch}
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


class Zygote:
    """The helper process; one run at a time. `log` gets what the runs print."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote", str(self._log)],
            cwd=Path(__file__).parents[2],
            env=os.environ
            | {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_LOGGING_TO_API_ENABLED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def begin(self, flow: str, kill: Kill | None, root: Path, **parameters: Any) -> int:
        """Begin a run; steps are counted below `root`. Returns its process id."""
        assert self._process.stdin is not None
        wanted = {"flow": flow, "kill": kill and asdict(kill), "root": str(root), "parameters": parameters}
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> int:
        """Wait for the run's end; returns its exit status, negative for a signal."""
        return self._answer()

    def run(self, flow: str, kill: Kill | None, root: Path, **parameters: Any) -> int:
        self.begin(flow, kill, root, **parameters)
        return self.end()

    @property
    def steps(self) -> list[str]:
        """The steps of the last run that came to its end."""
        return _steps_file(self._log).read_text().splitlines()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


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
                    os.kill(os.getpid(), signal.SIGKILL)

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


def _steps_file(log: Path) -> Path:
    return log.with_name(f"{log.name}.steps")


def _run(wanted: dict[str, Any], log: Path) -> int:
    """In the child: run, and die when it is time."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(descriptor, stream)
    kill = None if wanted["kill"] is None else Kill(**wanted["kill"])
    hurry(setattr, stall_seconds=300)  # a run that stalls is killed by its test
    steps = _Steps(wanted["root"], kill)
    os.copy_file_range = _copy_in_halves(steps)
    sys.addaudithook(steps)
    _FLOWS[wanted["flow"]](**wanted["parameters"])
    _steps_file(log).write_text("\n".join(steps.seen))
    return 0


def _serve(log: Path) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = _run(json.loads(line), log)
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                sys.stderr.flush()
                os._exit(status)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
