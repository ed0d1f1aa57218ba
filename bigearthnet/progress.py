"""Progress of long work, as text. The clock is passed in."""

from collections import deque
from collections.abc import Callable

_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_RATE_UNITS = ("B/s", "kB/s", "MB/s", "GB/s")
_RATE_LINES = 3
"""The rate is measured over this many lines: steady, but quick to follow a change."""


class Progress:
    """Bytes done, rate and time left of a transfer.

    Args:
        name: of the transfer.
        total: bytes.
        clock: gives seconds.
        every_seconds: between two lines.
        start: bytes that were there before; they count as done, but not for the rate.
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
        self._name, self._total, self._clock, self._every = name, total, clock, every_seconds
        self._done = start
        self._lines = deque([(clock(), start)], maxlen=_RATE_LINES)

    @property
    def percent(self) -> float:
        """Percentage done, 0 to 100; 100 if there is nothing to do."""
        return 100.0 if self._total <= 0 else min(max(100.0 * self._done / self._total, 0.0), 100.0)

    def advance(self, count: int) -> str | None:
        """Count bytes (a negative number takes some back); return a line when the next one is due."""
        self._done += count
        now = self._clock()
        if now - self._lines[-1][0] < self._every:
            return None
        line = self._line(now)
        self._lines.append((now, self._done))
        return line

    def line(self) -> str:
        """Return a line now."""
        return self._line(self._clock())

    def _line(self, now: float) -> str:
        power = _power(self._total, _BINARY_UNITS, 1024)
        done, total = (_number(value, power, 1024) for value in (self._done, self._total))
        line = f"{self._name}: {int(self.percent)} % ({done} of {total} {_BINARY_UNITS[power]})"
        then, before = self._lines[0]
        if now <= then:
            return line
        rate = max(self._done - before, 0) / (now - then)
        line += f", {_scaled(rate, _RATE_UNITS, 1000)}"
        left = self._total - self._done
        return f"{line}, {human_time(left / rate)} left" if left > 0 and rate > 0 else line


class Tally:
    """Tiles done, and time left.

    The rate is measured from the first new tile on, so that a download before it does not count.

    Args:
        tiles: number of all tiles.
        patches: number of patches of all tiles.
        clock: gives seconds.
    """

    def __init__(self, tiles: int, patches: int, clock: Callable[[], float]) -> None:
        self._tiles, self._patches, self._clock = tiles, patches, clock
        self._tiles_done = self._patches_done = self._measured = 0
        self._since: float | None = None

    def advance(self, patches: int, *, is_new: bool) -> str:
        """Count a tile and return a line.

        Args:
            patches: number of patches of the tile.
            is_new: the tile was converted in this run.
        """
        self._tiles_done += 1
        self._patches_done += patches
        line = f"{self._tiles_done} of {self._tiles} tiles done, "
        line += f"{100 * self._patches_done // max(self._patches, 1)} % of the patches"
        if is_new and self._since is None:
            self._since = self._clock()
        elif is_new:
            self._measured += patches
        left = self._patches - self._patches_done
        if left and self._measured and self._since is not None:
            seconds = (self._clock() - self._since) / self._measured * left
            line += f", at most {human_time(seconds)} left"
        return line


def human_bytes(count: float) -> str:
    """Write a number of bytes in a suitable unit, such as `58.9 GiB`."""
    return _scaled(count, _BINARY_UNITS, 1024)


def human_time(seconds: float) -> str:
    """Write a duration in its two leading units, such as `5 h 12 min`."""
    rest, parts = round(seconds), list[str]()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _scaled(value: float, units: tuple[str, ...], step: int) -> str:
    power = _power(value, units, step)
    return f"{_number(value, power, step)} {units[power]}"


def _power(value: float, units: tuple[str, ...], step: int) -> int:
    """Index of the unit in which the value is below `step`, rounded to one decimal."""
    power = 0
    while power < len(units) - 1 and round(value / step**power, 1) >= step:
        power += 1
    return power


def _number(value: float, power: int, step: int) -> str:
    return f"{value:.0f}" if power == 0 else f"{value / step**power:.1f}"
