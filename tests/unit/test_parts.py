from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.store import Piece, Range, StoredFile
from bigearthnet.store.s3.parts import LocalRange, Part, plan_parts

LEAST, SENT, LARGEST_LOCAL = 5, 8, 30
Byte = tuple[str, int]
"""A byte by the name of its file, and its place there."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    for size in range(LARGEST_LOCAL + 1):
        (folder / str(size)).write_bytes(b"x" * size)
    return folder


def a_range(start: int, size: int) -> Range:
    return Range(StoredFile("stored", 10**6, "etag"), start, start + size)


def bytes_of(part: Part) -> list[Byte]:
    return [
        (one.path.name if isinstance(one, LocalRange) else one.file.name, i)
        for one in ((part,) if isinstance(part, Range) else part)
        for i in range(one.start, one.stop)
    ]


@given(
    st.lists(
        st.builds(a_range, st.integers(0, 999), st.integers(0, 60)) | st.integers(0, LARGEST_LOCAL),
        max_size=12,
    )
)
def test_parts_are_the_pieces_and_keep_to_the_limits(folder: Path, drawn: list[Range | int]) -> None:
    pieces = [folder / str(piece) if isinstance(piece, int) else piece for piece in drawn]
    wanted: list[Byte] = []
    for piece in pieces:
        local = isinstance(piece, Path)
        wanted += [(piece.name, i) for i in range(int(piece.name))] if local else bytes_of(piece)
    parts = plan_parts(pieces, least=LEAST, sent=SENT)
    assert [byte for part in parts for byte in bytes_of(part)] == wanted
    sizes = [len(bytes_of(part)) for part in parts]
    assert all(size >= LEAST for size in sizes[:-1])
    assert all(sizes)
    assert all(
        size < SENT + LEAST for part, size in zip(parts, sizes, strict=True) if isinstance(part, tuple)
    )
    large = [piece.stop - piece.start for piece in pieces if isinstance(piece, Range)]
    copied = sum(part.stop - part.start for part in parts if isinstance(part, Range))
    assert copied >= sum(size - LEAST for size in large if size >= 2 * LEAST)


def test_no_byte_is_sent_that_the_server_can_copy(folder: Path) -> None:
    def shape(*pieces: Piece) -> list[tuple[str, int]]:
        parts = plan_parts(pieces, least=LEAST, sent=SENT)
        return [("copy" if isinstance(part, Range) else "send", len(bytes_of(part))) for part in parts]

    assert shape(a_range(0, 5), a_range(9, 20)) == [("copy", 5), ("copy", 20)]
    assert shape(a_range(0, 4), a_range(9, 20)) == [("send", 5), ("copy", 19)]
    assert shape(a_range(0, 4), a_range(9, 5)) == [("send", 8), ("send", 1)]
    assert shape(a_range(0, 4), a_range(9, 6)) == [("send", 5), ("copy", 5)]
    assert shape(folder / "5", a_range(9, 5)) == [("send", 5), ("copy", 5)]
    assert shape(folder / "10", a_range(9, 8)) == [("send", 8), ("send", 5), ("copy", 5)]
    assert shape(folder / "20") == [("send", 8), ("send", 8), ("send", 4)]
    assert shape() == []
