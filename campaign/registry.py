"""Kinds of faults by their names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from campaign.trial import Trial


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: in the table and on the command line.
        act: disturbs a run and requires what must hold afterwards.
        weight: number of trials for each trial of a kind with weight 1.
        seconds: that a trial takes at most, as a rule. None begins when less time is left.
    """

    name: str
    act: Callable[[Trial], None]
    weight: int
    seconds: float


_kinds: dict[str, Kind] = {}


def kind(
    name: str, *, weight: int = 1, seconds: float = 15
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Register a function as a kind of fault; see `Kind`."""

    def register(act: Callable[[Trial], None]) -> Callable[[Trial], None]:
        assert name not in _kinds, name
        _kinds[name] = Kind(name, act, weight, seconds)
        return act

    return register


def registered() -> Mapping[str, Kind]:
    """Return all kinds, in the order of their registration."""
    import campaign.kinds  # noqa: F401, PLC0415 - its modules import this one

    return _kinds
