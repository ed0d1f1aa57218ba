from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.store import Piece, Range, StoredFile
from bigearthnet.store.s3.parts import Part, copied_range, plan_parts

LEAST, MOST, SENT = 5, 23, 8


def plan(pieces: list[Piece]) -> list[Part]:
    return plan_parts(pieces, least=LEAST, most=MOST, sent=SENT)


def a_range(start: int, size: int) -> Range:
    return Range(StoredFile("file", 10**6, "etag"), start, start + size)


def bytes_of(pieces: list[Piece]) -> list[tuple[object, int]]:
    """Each byte, by where it is from."""
    all_bytes: list[tuple[object, int]] = []
    for piece in pieces:
        if isinstance(piece, Range):
            all_bytes += [("file", i) for i in range(piece.start, piece.stop)]
        else:
            assert isinstance(piece, bytes)
            all_bytes += [(piece, i) for i in range(len(piece))]
    return all_bytes


def bytes_of_parts(parts: list[Part]) -> list[list[tuple[object, int]]]:
    return [
        [
            ("file", cut.piece.start + i) if isinstance(cut.piece, Range) else (cut.piece, i)
            for cut in part
            for i in range(cut.start, cut.stop)
        ]
        for part in parts
    ]


PIECES = st.lists(
    st.builds(a_range, st.integers(0, 999), st.integers(0, 60)) | st.binary(max_size=30), max_size=12
)


@given(PIECES)
def test_parts_are_the_pieces_and_keep_to_the_limits(pieces: list[Piece]) -> None:
    parts = plan(pieces)
    by_part = bytes_of_parts(parts)
    assert [byte for part in by_part for byte in part] == bytes_of(pieces)
    sizes = [len(part) for part in by_part]
    assert all(size >= LEAST for size in sizes[:-1])
    assert all(0 < size <= MOST for size in sizes)
    ranges = [copied_range(part) for part in parts]
    for copied, size in zip(ranges, sizes, strict=True):
        assert size <= 2 * LEAST + SENT if copied is None else copied.stop - copied.start == size
    large = [piece.stop - piece.start for piece in pieces if isinstance(piece, Range)]
    assert sum(r.stop - r.start for r in ranges if r) >= sum(
        size - LEAST for size in large if size >= 2 * LEAST
    )


def shape(pieces: list[Piece]) -> list[tuple[str, int]]:
    return [
        ("copy" if copied_range(part) else "send", sum(cut.size for cut in part)) for part in plan(pieces)
    ]


def test_no_byte_is_sent_that_the_server_can_copy() -> None:
    assert shape([a_range(0, 5), a_range(9, 20)]) == [("copy", 5), ("copy", 20)]
    assert shape([a_range(0, 24)]) == [("copy", 12), ("copy", 12)]
    assert shape([a_range(0, 4), a_range(9, 20)]) == [("send", 5), ("copy", 19)]
    assert shape([a_range(0, 4), a_range(9, 5)]) == [("send", 8), ("copy", 1)]
    assert shape([a_range(0, 4), a_range(9, 6)]) == [("send", 5), ("copy", 5)]
    assert shape([b"12345", a_range(9, 5)]) == [("send", 5), ("copy", 5)]
    assert shape([b"1234567890", a_range(9, 8)]) == [("send", 8), ("send", 5), ("copy", 5)]
    assert shape([]) == []


def test_a_local_file_is_cut_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 20)
    assert shape([tmp_path / "file"]) == [("send", 8), ("send", 8), ("send", 4)]
