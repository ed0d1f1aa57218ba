"""Inputs that are nearly valid, made of valid ones: the same random numbers give the same input."""

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any, Final

SIZE_LIMIT: Final = 1 << 16
"""Most bytes of an input."""

_INTEGERS: Final = (0, 1, 7, 8, 127, 128, 255, 256, 511, 512, 32767, 32768, 65535, 65536, 1 << 20, 1 << 24)
_LARGE: Final = ((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_NUMBERS: Final = (*_INTEGERS, *_LARGE, -1, -(1 << 63), 10**30, 10**1000)
_TOKENS: Final = (*b'\0 \r\n \n " < & ../ / \xff\xfe %00'.split(b" "), b"", b" ", "é".encode())
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, [], {}, "", "..", "/", "\0", "\x1b[31m", "a\nb", "\ud800", "é", "x" * 5000),
    *(0.5, 1e308, float("nan"), float("inf"), [[]] * 50, {"a": 1}, *_NUMBERS),
)

Mutation = Callable[[Random, Sequence[bytes]], bytes]
"""Makes an input of valid ones."""


def mutate_bytes(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Flip bits; write integers, numbers and tokens; cut, remove, double and move spans; join two inputs."""
    data = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(_CHANGES)(random, data, seeds)[:SIZE_LIMIT]
    return data


def mutate_json(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Change values of a document: to odd ones, or to others of it; remove and double them."""
    if random.random() < 0.3:
        return mutate_bytes(random, seeds)
    holder = [json.loads(random.choice(seeds))]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        nodes = list(_nodes(holder))
        parent, key = random.choice(nodes)
        other = random.choice(nodes)
        action = random.randrange(5)
        if action == 0 and parent is not holder:
            del parent[key]
        elif action == 1:
            parent[key] = deepcopy(other[0][other[1]])
        elif action == 2 and isinstance(parent, list):
            parent.append(parent[key])
        elif action == 2 and isinstance(parent, dict):
            parent[f"{key}{random.choice(('', '2', ' '))}"] = deepcopy(random.choice(_VALUES))
        else:
            parent[key] = deepcopy(random.choice(_VALUES))
    return json.dumps(holder[0]).encode("utf-8", "surrogatepass")[:SIZE_LIMIT]


def mended(mutation: Mutation, mend: Callable[[bytes], bytes]) -> Mutation:
    """Return a mutation whose inputs pass a check more often than by chance: every other one is mended."""

    def mutate(random: Random, seeds: Sequence[bytes]) -> bytes:
        data = mutation(random, seeds)
        return mend(data) if random.random() < 0.5 else data

    return mutate


def _nodes(value: Any) -> Any:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _nodes(value[key])


def _span(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    longest = random.choice((1, 4, 16, 512, len(data)))
    return start, min(start + random.randint(0, longest), len(data))


def _flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _fill(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + random.choice((bytes(end - start), random.randbytes(end - start))) + data[end:]


def _integer(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    size, at = random.choice((1, 2, 4, 8)), random.randrange(len(data) + 1)
    value = random.choice((*_INTEGERS, *_LARGE)) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, random.choice(("little", "big"))) + data[at + size :]


def _number(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return data
    match = random.choice(found)
    text = random.choice((b"%d", b"%o")) % random.choice(_NUMBERS)
    text = text.zfill(len(match[0])) if random.random() < 0.5 else text
    return data[: match.start()] + text + data[match.end() :]


def _token(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + random.choice(_TOKENS) + data[random.choice((start, end)) :]


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: _span(random, data)[0]]


def _double(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def _move(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    rest = data[:start] + data[end:]
    at = random.randrange(len(rest) + 1)
    return rest[:at] + data[start:end] + rest[at:]


def _join(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = random.choice(seeds)
    return data[: _span(random, data)[0]] + other[_span(random, other)[0] :]


_CHANGES: Final = (_flip, _flip, _fill, _integer, _integer, _number, _token, _cut, _double, _move, _join)
