from itertools import pairwise

from bigearthnet.store.s3.join import Piece, is_copied, plan_parts
from hypothesis import example, given
from hypothesis import strategies as st

from bigearthnet.store.s3.parts import ranges
from bigearthnet.zips.join import Section

LEAST, MOST = 10, 25


def sections_of(lengths: list[int]) -> list[Section]:
    offsets = [sum(lengths[:i]) for i in range(len(lengths))]
    return [Section(str(i), length, offsets[i], 1, 1) for i, length in enumerate(lengths)]


@given(st.lists(st.integers(1, 60), max_size=12))
@example([5, 14, 5])
@example([9, 11, 10, 1])
def test_parts_are_the_sections_and_large_enough(lengths: list[int]) -> None:
    parts = plan_parts(sections_of(lengths), least=LEAST, most=MOST)
    pieces = [piece for part in [*parts.whole, parts.rest] for piece in part]
    places = [(piece.source, byte) for piece in pieces for byte in range(piece.start, piece.stop)]
    assert places == [(str(i), byte) for i, length in enumerate(lengths) for byte in range(length)]
    assert all(LEAST <= sum(piece.size for piece in part) <= MOST for part in parts.whole)
    assert sum(piece.size for piece in parts.rest) < LEAST


@given(st.lists(st.integers(1, 60), max_size=12))
def test_only_small_sections_and_what_completes_them_go_through_the_client(lengths: list[int]) -> None:
    parts = plan_parts(sections_of(lengths), least=LEAST, most=MOST)
    sent = [
        part for part in [*parts.whole, parts.rest] if part and (part is parts.rest or not is_copied(part))
    ]
    for part in sent:
        first = part[0]
        assert (first.start, first.stop) == (0, lengths[int(first.source)])
        assert first.size < LEAST
        assert sum(piece.size for piece in part) < 2 * LEAST


def test_a_small_section_takes_from_the_next_what_it_lacks() -> None:
    parts = plan_parts(sections_of([4, 30, 12, 3]), least=LEAST, most=MOST)
    assert parts.whole == (
        (Piece("0", 0, 4), Piece("1", 0, 6)),
        (Piece("1", 6, 30),),
        (Piece("2", 0, 12),),
    )
    assert parts.rest == (Piece("3", 0, 3),)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 300))
def test_ranges_are_few_and_about_equal(start: int, length: int, most: int) -> None:
    found = ranges(start, start + length, most)
    assert len(found) == (length + most - 1) // most
    assert all(left[1] == right[0] for left, right in pairwise(found))
    if found:
        assert (found[0][0], found[-1][1]) == (start, start + length)
        sizes = [stop - begin for begin, stop in found]
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1
