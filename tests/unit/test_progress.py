import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.progress import Progress, Tally, counted, human_bytes, human_time

GIB = 1 << 30


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("total", "seconds", "counts", "line"),
    [
        # 20 GiB and 126 MB are 20.117 GiB, 34.1 %; the rest are 41.75 GB: 116 s at 343.3 MiB/s.
        (59 * GIB, 60, [20 * GIB + 126_000_000], "34 % (20.1 GiB of 59.0 GiB), 343.3 MiB/s, 1 min 56 s left"),
        (1000, 60, [700, -600], "10 % (100 B of 1000 B), 2 B/s, 9 min 0 s left"),
        (1000, 60, [0], "0 % (0 B of 1000 B), 0 B/s"),
        (2 * GIB, 60, [2 * GIB], "100 % (2.0 GiB of 2.0 GiB), 34.1 MiB/s"),
        (10**6, 100_000, [10**6 - 1], "99 % (976.6 KiB of 976.6 KiB), 10 B/s, 0 s left"),
        (0, 60, [0], "100 % (0 B of 0 B), 0 B/s"),
    ],
)
def test_a_line_says_how_much_how_fast_and_how_long(
    total: int, seconds: float, counts: list[int], line: str
) -> None:
    clock = Clock()
    progress = Progress("x", total, clock)
    for count in counts[:-1]:
        assert progress.advance(count) is None
    clock.seconds += seconds
    assert progress.advance(counts[-1]) == f"x: {line}"


def test_lines_are_due_soon_and_then_once_a_minute_with_the_rate_since_the_last_one() -> None:
    clock = Clock()
    progress = Progress("x", 10**9, clock)
    due = {}
    for second in range(1, 301):
        clock.seconds = 1000 + second
        if line := progress.advance(61_440 if second <= 150 else 1_024):
            due[second] = line.split(", ")[1]
    assert due == {10: "60.0 KiB/s", 70: "60.0 KiB/s", 130: "60.0 KiB/s", 190: "20.7 KiB/s", 250: "1.0 KiB/s"}


@given(st.integers(0, 10**12), st.lists(st.tuples(st.floats(0, 1e5), st.integers(-(10**10), 10**12))))
def test_any_course_has_lines(total: int, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    progress = Progress("x", total, clock)
    for seconds, count in steps:
        clock.seconds += seconds
        line = progress.advance(count)
        assert line is None or 0 <= int(line.split()[1]) <= 100


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (human_bytes(1023), "1023 B"),
        (human_bytes(1024), "1.0 KiB"),
        (human_bytes(1024**2 - 1), "1.0 MiB"),
        (human_bytes(63_251_710_377), "58.9 GiB"),
        (human_bytes(5 * 1024**5), "5120.0 TiB"),
        (human_time(0), "0 s"),
        (human_time(59.6), "1 min 0 s"),
        (human_time(3599), "59 min 59 s"),
        (human_time(86_399), "23 h 59 min"),
        (human_time(86_400), "1 d 0 h"),
    ],
)
def test_bytes_and_times_have_suitable_units(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "tile", "0 tiles"),
        (1, "tile", "1 tile"),
        (115, "tile", "115 tiles"),
        (1, "patch", "1 patch"),
        (2000, "patch", "2,000 patches"),
    ],
)
def test_a_number_has_its_noun_in_singular_or_plural(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


def test_one_tile_is_no_tiles() -> None:
    assert Tally(1, 10, Clock()).advance(10, is_new=True) == "1 of 1 tile done, 100 % of the patches"


def test_a_tally_measures_from_the_first_new_tile_on() -> None:
    clock = Clock()
    tally = Tally(5, 1000, clock)
    assert tally.advance(300, is_new=False) == "1 of 5 tiles done, 30 % of the patches"
    clock.seconds += 36_000  # a download
    assert tally.advance(100, is_new=True) == "2 of 5 tiles done, 40 % of the patches"
    assert tally.advance(200, is_new=False) == "3 of 5 tiles done, 60 % of the patches"
    clock.seconds += 30
    assert tally.advance(300, is_new=True) == "4 of 5 tiles done, 90 % of the patches, at most 10 s left"
    clock.seconds += 30
    assert tally.advance(100, is_new=True) == "5 of 5 tiles done, 100 % of the patches"
