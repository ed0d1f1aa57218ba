"""The fuzzer: what it finds, with which input, and that it goes on."""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_POPULATE, MAP_PRIVATE, mmap
from pathlib import Path

import pytest

from bigearthnet.errors import BigEarthNetError
from fuzz.mutate import SIZE_LIMIT, Mutation, mutate_bytes, mutate_json
from fuzz.run import MEMORY_BYTES, MESSAGE_LIMIT, Target, fuzz

HARMFUL = b"harmful"


def other_error() -> None:
    raise KeyError("x")


def panic() -> None:
    raise BaseException("as of a library in Rust")


def much_memory(size: int = MEMORY_BYTES) -> mmap:
    return mmap(-1, size + (32 << 20), MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE)


def memory_without_end() -> None:
    held = much_memory(3 * MEMORY_BYTES)
    threading.Event().wait()
    held.close()


def busy() -> None:
    while True:
        pass


def asleep() -> None:
    threading.Event().wait()


def crash() -> None:
    os.abort()


def long_message() -> None:
    raise BigEarthNetError("x" * (MESSAGE_LIMIT + 1))


def control_characters() -> None:
    raise BigEarthNetError("\x1b[2J")


HARMS: dict[Callable[[], object], str] = {
    other_error: r"KeyError at test_fuzzer.py:\d+: 'x'",
    panic: r"BaseException at test_fuzzer.py:\d+: as of .*",
    much_memory: r"memory: 3\d\d MiB",
    memory_without_end: "memory: more than 900 MiB",
    busy: "CPU: over a second",
    asleep: "does not end: not in 1 s",
    crash: "ended the process: signal 6",
    long_message: "a message is too long: 2,001 characters, 'x+'",
    control_characters: r"a message has control characters: '\\x1b\[2J'",
}


@dataclass(frozen=True)
class Doing:
    """Makes a parser of what does harm with one input."""

    harm: Callable[[], object]

    @property
    def __name__(self) -> str:
        return self.harm.__name__

    def __call__(self, _: Path) -> Target:
        return Target([b"a", b"b"], lambda data: self.harm() if data == HARMFUL else None)


def test_harm_is_found_with_its_input_and_the_others_are_run() -> None:
    found = fuzz([Doing(harm) for harm in HARMS], 1, 5, lambda _: [b"x", HARMFUL], stall_seconds=1)
    for result, what in zip(found, HARMS.values(), strict=True):
        (finding,) = result.findings
        assert (finding.index, finding.data) == (-1, HARMFUL)
        assert re.fullmatch(what, finding.what), finding.what
        assert (result.accepted, result.refused) == (6, 0)


def test_a_seed_that_is_not_valid_is_no_target() -> None:
    with pytest.raises(
        RuntimeError, match=r"cannot fuzz not_valid: ValueError at run.py:\d+: invalid literal"
    ):
        fuzz([not_valid], 1, 5)


def not_valid(_: Path) -> Target:
    return Target([b"x"], int)


@pytest.mark.parametrize("mutate", [mutate_bytes, mutate_json])
def test_the_same_numbers_give_the_same_inputs(mutate: Mutation) -> None:
    target = Target([b'{"a": [1, "x"]}', b"[1.5, null]"], bytes, mutate)
    inputs = [target.input("x", 1, index) for index in range(300)]
    assert inputs == [target.input("x", 1, index) for index in range(300)]
    assert inputs != [target.input("x", 2, index) for index in range(300)]
    assert len(set(inputs)) > 150
    assert max(map(len, inputs)) <= SIZE_LIMIT
