"""Progress of long work, as text. The clock is passed in."""

from collections.abc import Callable, Collection
from itertools import islice

_FIRST_SECONDS = 10
_EVERY_SECONDS = 60


class Progress:
    """Bytes done, rate since the last line, and time left of a transfer of `total` bytes, by a clock."""

    def __init__(self, name: str, total: int, clock: Callable[[], float]) -> None:
        self._name, self._total, self._clock = name, total, clock
        self._done = 0
        self._last = (clock(), 0)
        self._wait = _FIRST_SECONDS
        self.percent = 0  # done, at the last line

    def advance(self, count: int) -> str | None:
        """Count bytes (a negative number takes some back); return a line after 10 s, then once a minute."""
        self._done += count
        now, (then, before) = self._clock(), self._last
        if now - then < self._wait:
            return None
        self._last, self._wait = (now, self._done), _EVERY_SECONDS
        rate = max(self._done - before, 0) / (now - then)
        left = self._total - self._done
        self.percent = min(max(100 * self._done // self._total, 0), 100) if self._total else 100
        line = f"{self._name}: {self.percent} % ({human_bytes(self._done)} of "
        line += f"{human_bytes(self._total)}), {human_bytes(rate)}/s"
        return f"{line}, {human_time(left / rate)} left" if left > 0 and rate > 0 else line


class Tally:
    """Tiles and patches done, of all, and time left; `clock` gives seconds.

    The rate is measured from the first new tile on, so that a download before it does not count.
    """

    def __init__(self, tiles: int, patches: int, clock: Callable[[], float]) -> None:
        self._tiles, self._patches, self._clock = tiles, patches, clock
        self._tiles_done = self._patches_done = self._measured = 0
        self._since: float | None = None

    def advance(self, patches: int, *, is_new: bool) -> str:
        """Count a tile with its patches and return a line; `is_new`: it was converted in this run."""
        self._tiles_done += 1
        self._patches_done += patches
        line = f"{self._tiles_done:,} of {counted(self._tiles, 'tile')} done, "
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


def counted(count: int, noun: str) -> str:
    """Write a number with its noun, such as `1 tile` or `2,000 patches`."""
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def some(names: Collection[str], most: int = 3) -> str:
    """Write the first of several names, such as `a, b, c, ...`."""
    return ", ".join(islice(names, most)) + (", ..." if len(names) > most else "")


def human_bytes(count: float) -> str:
    """Write a number of bytes in a suitable unit, such as `58.9 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(count, 1) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_time(seconds: float) -> str:
    """Write a duration in its two leading units, such as `5 h 12 min`."""
    rest, parts = round(seconds), list[str]()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
