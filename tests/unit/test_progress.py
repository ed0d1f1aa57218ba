import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.progress import Progress, Tally, human_bytes, human_time

GIB = 1 << 30


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_line_tells_how_far_how_fast_and_how_long() -> None:
    clock = Clock()
    progress = Progress("BigEarthNet-S2.tar.zst", 59 * GIB, clock, start=20 * GIB)
    clock.seconds += 60
    line = progress.advance(126_000_000)  # 2.1 MB/s
    # 20 GiB and 126 MB are 20.117 GiB, 34.1 %; the rest are 41.75 GB: 19,881 s at that rate.
    assert line == "BigEarthNet-S2.tar.zst: 34 % (20.1 of 59.0 GiB), 2.1 MB/s, 5 h 31 min left"
    assert progress.line() == line


def test_lines_come_once_a_minute() -> None:
    clock = Clock()
    progress = Progress("x", 1000, clock)
    told = []
    for second in range(1, 301):
        clock.seconds = 1000 + second
        if progress.advance(1) is not None:
            told.append(second)
    assert told == [60, 120, 180, 240, 300]


def test_the_time_between_lines_can_be_chosen() -> None:
    clock = Clock()
    progress = Progress("x", 1000, clock, every_seconds=5)
    clock.seconds += 4.9
    assert progress.advance(1) is None
    clock.seconds += 0.1
    assert progress.advance(1) is not None


def test_the_rate_is_that_of_the_last_minutes() -> None:
    clock = Clock()
    progress = Progress("x", 10**9, clock)
    for _ in range(10):
        clock.seconds += 60
        progress.advance(60 * 1_000_000)
    for _ in range(3):
        clock.seconds += 60
        line = progress.advance(60 * 1_000)
    assert line is not None
    assert ", 1.0 kB/s, " in line


def test_what_was_there_before_is_done_but_not_fast() -> None:
    clock = Clock()
    progress = Progress("x", 1000, clock, start=500)
    assert progress.percent == 50.0
    clock.seconds += 10
    progress.advance(20)
    assert progress.line() == "x: 52 % (520 of 1000 B), 2 B/s, 4 min 0 s left"


def test_bytes_that_must_come_again_are_taken_back() -> None:
    clock = Clock()
    progress = Progress("x", 1000, clock)
    progress.advance(700)
    progress.advance(-600)
    clock.seconds += 10
    assert progress.line() == "x: 10 % (100 of 1000 B), 10 B/s, 1 min 30 s left"


def test_a_stall_has_no_time_left() -> None:
    clock = Clock()
    progress = Progress("x", 1000, clock)
    clock.seconds += 60
    assert progress.advance(0) == "x: 0 % (0 of 1000 B), 0 B/s"


def test_the_first_moment_has_no_rate() -> None:
    assert Progress("x", 1000, Clock()).line() == "x: 0 % (0 of 1000 B)"


def test_the_end_has_no_time_left() -> None:
    clock = Clock()
    progress = Progress("x", 2 * GIB, clock)
    clock.seconds += 1
    progress.advance(2 * GIB)
    assert progress.percent == 100.0
    assert progress.line() == "x: 100 % (2.0 of 2.0 GiB), 2.1 GB/s"


def test_almost_all_is_not_all() -> None:
    clock = Clock()
    progress = Progress("x", 10**6, clock)
    progress.advance(10**6 - 1)
    assert progress.line().startswith("x: 99 % ")


def test_nothing_at_all_is_done() -> None:
    progress = Progress("x", 0, Clock())
    assert progress.percent == 100.0
    assert progress.line() == "x: 100 % (0 of 0 B)"


@given(st.integers(0, 10**12), st.lists(st.tuples(st.floats(0, 1e5), st.integers(-(10**10), 10**12))))
def test_any_course_has_a_line_and_a_percentage(total: int, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    progress = Progress("x", total, clock)
    for seconds, count in steps:
        clock.seconds += seconds
        line = progress.advance(count)
        assert (line is None) == (seconds < 60) or line is None or line.startswith("x: ")
        assert 0 <= progress.percent <= 100
        assert progress.line().startswith(f"x: {int(progress.percent)} % (")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (63_251_710_377, "58.9 GiB"),
        (5 * 1024**5, "5120.0 TiB"),
    ],
)
def test_bytes_are_written_in_the_unit_that_suits_them(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (18_720, "5 h 12 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_times_are_written_in_their_two_leading_units(seconds: float, text: str) -> None:
    assert human_time(seconds) == text


def test_a_tally_of_tiles_tells_what_is_left_from_what_was_made_now() -> None:
    seconds = iter([0.0, 30.0, 60.0])
    tally = Tally(4, 1000, lambda: next(seconds))
    assert tally.advance(500, is_new=False) == "1 of 4 tiles done, 50 % of the patches"
    assert tally.advance(100, is_new=True) == "2 of 4 tiles done, 60 % of the patches, at most 2 min 0 s left"
    assert tally.advance(200, is_new=True) == "3 of 4 tiles done, 80 % of the patches, at most 40 s left"
    assert tally.advance(200, is_new=True) == "4 of 4 tiles done, 100 % of the patches"
