"""Runs parsers in a child process that is watched, so that crashes and hangs are found with their input."""

import ctypes
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from bigearthnet.errors import BigEarthNetError, BusyError
from fuzz.mutate import SIZE_LIMIT, Mutation, mutate_bytes

CPU_SECONDS: Final = 1.0
MEMORY_BYTES: Final = 300 << 20
"""More than this, for one input, is a finding; more than three times this ends the child."""
MESSAGE_LIMIT: Final = 2000
"""Most characters of an error's message."""
_ROOT: Final = str(Path(__file__).parents[1])
_ACCEPTED, _REFUSED = 2, 3  # places of counts in what parent and child share
_NOT_STARTED: Final = -(1 << 32)  # in place of an index
_POLL_SECONDS: Final = 0.05
_SAME_KEPT: Final = 3  # inputs that are kept of findings of one kind


@dataclass(frozen=True, slots=True)
class Target:
    """A parser: valid inputs, what reads one or raises an error of ours, and how inputs are changed."""

    seeds: Sequence[bytes]
    parse: Callable[[bytes], object]
    mutate: Mutation = mutate_bytes

    def input(self, name: str, seed: int, index: int) -> bytes:
        """Return an input: first the seeds themselves, then changed ones."""
        if index < len(self.seeds):
            return self.seeds[index]
        return self.mutate(Random(f"{name} {seed} {index}"), self.seeds)


MakeTarget = Callable[[Path], Target]
"""A function whose name is that of the parser; it can use a folder that is its own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that was neither read nor refused as it should be."""

    index: int  # negative for kept inputs
    what: str
    data: bytes


@dataclass(slots=True)
class Result:
    """What came of the inputs of a parser."""

    parser: str
    accepted: int = 0
    refused: int = 0
    cpu_seconds: float = 0  # most for one input
    memory_bytes: int = 0  # most for one input
    found: dict[str, int] = field(default_factory=dict)  # number of findings of each kind
    findings: list[Finding] = field(default_factory=list)  # the first ones of each kind

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        kind = finding.what.partition(": ")[0]
        self.found[kind] = self.found.get(kind, 0) + 1
        if self.found[kind] <= _SAME_KEPT:
            self.findings.append(finding)


def fuzz(
    makers: Sequence[MakeTarget],
    seed: int,
    inputs: int,
    kept: Callable[[str], Sequence[bytes]] = lambda _: (),
    *,
    stall_seconds: float = 30,
) -> list[Result]:
    """Give each parser its kept inputs, its seeds and changed ones, `inputs` in all beside the kept ones."""
    results = []
    with TemporaryDirectory(prefix="fuzz-") as folder, _Child(Path(folder), stall_seconds) as child:
        for make in makers:
            result, known = Result(make.__name__), kept(make.__name__)
            start = -len(known)
            while start < inputs:
                start = child.run(_Job(make, seed, start, inputs, known), result) + 1
            results.append(result)
    return results


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is known also if an input ends the child: that input, and the number of others."""

    numbers: Any  # index and size of the input; inputs accepted and refused
    content: Any

    @property
    def index(self) -> int:
        return int(self.numbers[0])

    @property
    def data(self) -> bytes:
        return bytes(self.content[: self.numbers[1]])

    def set(self, index: int, data: bytes) -> None:
        ctypes.memmove(self.content, data, len(data))
        self.numbers[:2] = index, len(data)

    def take_counts(self) -> tuple[int, int]:
        accepted, refused = self.numbers[2:]
        self.numbers[2:] = 0, 0
        return accepted, refused


@dataclass(frozen=True, slots=True)
class _Job:
    make: MakeTarget
    seed: int
    start: int
    stop: int
    kept: Sequence[bytes]


class _Child:
    """The process that parses; another one is started when it ends."""

    def __init__(self, folder: Path, stall_seconds: float) -> None:
        self._folder = folder
        self._stall_seconds = stall_seconds
        self._context = multiprocessing.get_context("spawn")
        self._shared = _Shared(RawArray("q", 4), RawArray("c", SIZE_LIMIT))
        self._process: BaseProcess | None = None

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def run(self, job: _Job, result: Result) -> int:
        """Run inputs of a job until one ends the child; returns the index of the last one that was run."""
        if self._process is None:
            self._connection, theirs = self._context.Pipe()
            self._process = self._context.Process(
                target=_serve, args=(theirs, self._folder, self._shared), daemon=True
            )
            self._process.start()
            theirs.close()
        self._shared.set(_NOT_STARTED, b"")
        self._connection.send(job)
        try:
            while (message := self._receive()) is not None:
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, Finding):
                    result.add(message)
                    continue
                result.cpu_seconds = max(result.cpu_seconds, message.cpu_seconds)
                result.memory_bytes = max(result.memory_bytes, message.memory_bytes)
            return job.stop
        except _EndedError as ended:
            self._end()
            if self._shared.index == _NOT_STARTED:
                raise RuntimeError(f"cannot fuzz {result.parser}: {ended}") from None
            result.add(Finding(self._shared.index, str(ended), self._shared.data))
            return self._shared.index
        finally:
            accepted, refused = self._shared.take_counts()
            result.accepted += accepted
            result.refused += refused

    def _receive(self) -> Any:
        """Return what the child sends; raise _EndedError if it ended, stalls, or takes too much memory."""
        index, since = self._shared.index, time.monotonic()
        assert self._process is not None  # noqa: S101
        while not self._connection.poll(_POLL_SECONDS):
            state, resident = _state_of(self._process.pid)
            if self._shared.index != index or state == "R":  # one that wants the CPU has CPU_SECONDS
                index, since = self._shared.index, time.monotonic()
            if index != _NOT_STARTED and time.monotonic() - since > self._stall_seconds:
                raise _EndedError(f"does not end: not in {self._stall_seconds:g} s")
            if resident > 3 * MEMORY_BYTES:
                raise _EndedError(f"memory: more than {3 * MEMORY_BYTES >> 20} MiB")
        try:
            return self._connection.recv()
        except EOFError:
            self._process.join()
            code = -(self._process.exitcode or 0)
            slow = code == signal.SIGPROF
            raise _EndedError("CPU: over a second" if slow else f"ended the process: signal {code}") from None

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


class _EndedError(Exception):
    """An input ended the child, or the child had to be ended; the message says why."""


def _serve(connection: Connection, folder: Path, shared: _Shared) -> None:
    """Run jobs, in the child."""
    with Path(os.devnull).open("w") as nothing:  # native libraries print a line for each damaged input
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    with suppress(EOFError):
        while True:
            job: _Job = connection.recv()
            try:
                place = folder / f"{job.make.__name__}{job.start}"
                place.mkdir()
                target = job.make(place)
                for seed in target.seeds:  # imports, and caches that are filled once, are no input's memory
                    with suppress(BusyError):
                        target.parse(seed)
                _work(job, target, connection, shared)
            except Exception as error:
                connection.send(RuntimeError(f"cannot fuzz {job.make.__name__}: {_describe(error)}"))


def _work(job: _Job, target: Target, connection: Connection, shared: _Shared) -> None:
    result = Result(job.make.__name__)
    for index in range(job.start, job.stop):
        data = job.kept[index] if index < 0 else target.input(result.parser, job.seed, index)
        shared.set(index, data)
        before, began = _peak_bytes(reset=True), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            target.parse(data)
        except BigEarthNetError as error:
            count, what = _REFUSED, _fault_of(str(error))
        except BaseException as error:
            what = _describe(error)
        else:
            count, what = _ACCEPTED, ""
        signal.setitimer(signal.ITIMER_PROF, 0)
        memory = _peak_bytes() - before
        result.cpu_seconds = max(result.cpu_seconds, time.process_time() - began)
        result.memory_bytes = max(result.memory_bytes, memory)
        if memory > MEMORY_BYTES:
            what = f"memory: {memory >> 20} MiB"
        if what:
            connection.send(Finding(index, what, data))
        else:
            shared.numbers[count] += 1
    connection.send(result)
    connection.send(None)


def _fault_of(message: str) -> str:
    """Return what is wrong with a message of ours, nothing if it can be shown."""
    if len(message) > MESSAGE_LIMIT:
        return f"a message is too long: {len(message):,} characters, {message[:80]!r}"
    if not message.replace("\n", "").isprintable():
        return f"a message has control characters: {message!r}"
    return ""


def _describe(error: BaseException) -> str:
    """Kind of an error, and the innermost place of ours that let it out."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _ROOT in frame.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {where}: {str(error)[:200]}"


def _state_of(process: int | None) -> tuple[str, int]:
    """State and resident bytes of a process; see proc_pid_stat(5)."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return "", 0


def _peak_bytes(*, reset: bool = False) -> int:
    """Most memory that this process had since the last reset; see proc_pid_status(5)."""
    if reset:
        Path("/proc/self/clear_refs").write_bytes(b"5")
    status = Path("/proc/self/status").read_bytes()
    return int(status[status.index(b"VmHWM:") + 6 :].split(maxsplit=1)[0]) << 10
