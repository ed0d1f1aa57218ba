"""Progress of something long, as a line a minute. No clock in here but the one that is given."""

from collections import deque
from collections.abc import Callable

_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_RATE_UNITS = ("B/s", "kB/s", "MB/s", "GB/s")
_WINDOW_LINES = 3
"""Lines that the rate looks back over: long enough to be calm, short enough to tell of a change."""


class Progress:
    """How far something is, how fast it goes, and how long it will still take.

    Args:
        name: what it is.
        total: bytes in all.
        clock: seconds from any beginning.
        every_seconds: between two lines.
        start: bytes that were there before; they are part of what is done, not of the rate.
    """

    def __init__(
        self,
        name: str,
        total: int,
        clock: Callable[[], float],
        *,
        every_seconds: float = 60,
        start: int = 0,
    ) -> None:
        self._name = name
        self._total = total
        self._clock = clock
        self._every = every_seconds
        self._done = start
        self._told_at = clock()
        self._seen = deque([(self._told_at, start)], maxlen=_WINDOW_LINES)

    @property
    def percent(self) -> float:
        """Of the total, 0 to 100; nothing at all is 100."""
        return 100.0 if self._total <= 0 else min(max(100.0 * self._done / self._total, 0.0), 100.0)

    def advance(self, count: int) -> str | None:
        """Count bytes (a negative number takes some back); returns a line when it is time for one."""
        self._done += count
        now = self._clock()
        if now - self._told_at < self._every:
            return None
        line = self._line(now)
        self._told_at = now
        self._seen.append((now, self._done))
        return line

    def line(self) -> str:
        """How it stands now."""
        return self._line(self._clock())

    def _line(self, now: float) -> str:
        done, total = _in_one_unit(self._done, self._total)
        line = f"{self._name}: {int(self.percent)} % ({done} of {total})"
        then, before = self._seen[0]
        if now <= then:
            return line
        rate = max(self._done - before, 0) / (now - then)
        line += f", {_scaled(rate, _RATE_UNITS, 1000)}"
        left = self._total - self._done
        if left > 0 and rate > 0:
            line += f", {human_time(left / rate)} left"
        return line


class Tally:
    """Counts finished tiles, and estimates the time left.

    Args:
        tiles: number of tiles.
        patches: number of patches to convert; those of tiles that were finished before take no time.
        clock: seconds since any moment.
    """

    def __init__(self, tiles: int, patches: int, clock: Callable[[], float]) -> None:
        self._tiles = tiles
        self._patches = patches
        self._clock = clock
        self._began = clock()
        self._finished = self._converted = 0

    def advance(self, converted: int) -> str:
        """Count a tile of which so many patches were converted; returns a line for the log."""
        self._finished += 1
        self._converted += converted
        line = f"{self._finished} of {self._tiles} tiles finished"
        left = self._patches - self._converted
        if left and self._converted:
            seconds = (self._clock() - self._began) / self._converted * left
            line += f", about {human_time(seconds)} left"
        return line


def human_bytes(count: float) -> str:
    """Bytes in the unit that suits them, such as `58.9 GiB`."""
    return _scaled(count, _BINARY_UNITS, 1024)


def human_time(seconds: float) -> str:
    """A duration in its two leading units, such as `5 h 12 min`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute} min"
    if minutes:
        return f"{minutes} min {second} s"
    return f"{second} s"


def _scaled(value: float, units: tuple[str, ...], step: int) -> str:
    power = _power(value, units, step)
    return f"{_number(value, power, step)} {units[power]}"


def _in_one_unit(done: float, total: float) -> tuple[str, str]:
    """Both in the unit of the total, which only the second is written with."""
    power = _power(total, _BINARY_UNITS, 1024)
    return _number(done, power, 1024), f"{_number(total, power, 1024)} {_BINARY_UNITS[power]}"


def _power(value: float, units: tuple[str, ...], step: int) -> int:
    """The unit that writes the value below `step`, after rounding to one decimal."""
    power = 0
    while power < len(units) - 1 and round(value / step**power, 1) >= step:
        power += 1
    return power


def _number(value: float, power: int, step: int) -> str:
    return f"{value:.0f}" if power == 0 else f"{value / step**power:.1f}"
