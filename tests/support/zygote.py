"""Runs of `prepare` in processes of their own, which may kill themselves at a given moment.

A helper process imports everything once and forks a child for each run, so that a run that is killed
costs no more than one that is not. It is asked by lines of JSON, and answers in the same way:

    with Zygote(folder / "log") as zygote:
        zygote.begin(source, place, Kill(event="os.rename", name="dataset.json"))
        assert zygote.end() == -signal.SIGKILL
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prefect.settings import PREFECT_API_URL

from tasks import policy
from tests.support.runs import Place, start

_CHANGES = {"os.rename": 1, "os.remove": 0, "os.link": 1, "os.mkdir": 0, "shutil.rmtree": 0}
"""Audit events that change a folder, and which of their arguments is the path that is changed."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True, slots=True)
class Kill:
    """When a run kills itself: before a change to its folders, or in the middle of a write.

    Attributes:
        event: counting begins with the first such event, such as `os.rename`; empty: any.
        name: ... of a file of this name; empty: any.
        later: so many changes later.
        write: in the middle of the write of this number to a zip; 0: in none.
        request: before the first HTTP request whose first line matches; empty: before none.
    """

    event: str = ""
    name: str = ""
    later: int = 0
    write: int = 0
    request: str = ""


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

    def begin(self, source: str, place: Place, kill: Kill | None = None, **parameters: Any) -> int:
        """Begin a run; returns its process id."""
        assert self._process.stdin is not None
        asked = {
            "source": source,
            "work": str(place.work),
            "destination": str(place.destination),
            "kill": None if kill is None else asdict(kill),
            "parameters": parameters,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> int:
        """Wait for the run's end; returns its exit status, negative for a signal."""
        return self._answer()

    @property
    def changes(self) -> int:
        """How many changes the last run that came to its end made to its folders."""
        return int(_counted(self._log).read_text())

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


class _Changes:
    """An audit hook that counts changes below the run's folders, and kills at the chosen one."""

    def __init__(self, place: Place, kill: Kill | None) -> None:
        self._roots = (str(place.work), str(place.destination))
        self._kill = kill
        self._left: int | None = None
        self._lock = threading.Lock()
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "http.client.send":
            self._request(arguments[1])
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            path = arguments[0]
        elif event in _CHANGES:
            path = arguments[_CHANGES[event]]
        else:
            return
        if isinstance(path, (str, Path)) and str(path).startswith(self._roots):
            with self._lock:
                self._changes(event, Path(path))

    def _request(self, data: object) -> None:
        wanted = self._kill.request if self._kill is not None else ""
        line = data.split(b"\r\n", 1)[0].decode("latin-1") if isinstance(data, bytes) else ""
        if wanted and re.search(wanted, line):
            os.kill(os.getpid(), signal.SIGKILL)

    def _changes(self, event: str, path: Path) -> None:
        self.count += 1
        kill = self._kill
        if kill is None or kill.write or kill.request:
            return
        if self._left is not None:
            self._left -= 1
        elif kill.event in ("", event) and kill.name in ("", path.name):
            self._left = kill.later
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _die_in_write(number: int) -> None:
    from bigearthnet.zips.shard import HashedFile  # noqa: PLC0415

    write, left = HashedFile.write, number

    def dying_write(file: HashedFile, data: bytes | bytearray | memoryview) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            write(file, memoryview(data)[: len(data) // 2])
            file._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, data)

    HashedFile.write = dying_write  # type: ignore[assignment,method-assign]


def _counted(log: Path) -> Path:
    return log.with_name(f"{log.name}.changes")


def _run(asked: dict[str, Any], log: Path) -> int:
    """In the child: run, and die when it is time."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(descriptor, stream)
    place = Place(Path(asked["work"]), Path(asked["destination"]))
    kill = None if asked["kill"] is None else Kill(**asked["kill"])
    policy.RETRY_DELAYS[:] = [0.01] * len(policy.RETRY_DELAYS)
    changes = _Changes(place, kill)
    sys.addaudithook(changes)
    if kill is not None and kill.write:
        _die_in_write(kill.write)
    start(asked["source"], place, **asked["parameters"])
    _counted(log).write_text(str(changes.count))
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
