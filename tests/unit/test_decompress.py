import io
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.errors import ArchiveError
from bigearthnet.names import IMAGES_ROOT
from tests.support.small_archives import TILES, everything, members_of, packed


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.booleans())
def test_frames_one_after_the_other_are_one_content(parts: list[bytes], checksum: bool) -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=checksum)
    data = b"".join(compressor.compress(part) for part in parts)
    assert b"".join(decompress(io.BytesIO(data))) == b"".join(parts)


class Drop:
    """A source that gives a few bytes at a time, as a slow network does."""

    def __init__(self, data: bytes, size: int) -> None:
        self._file = io.BytesIO(data)
        self._size = size

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._size))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_how_the_source_is_cut_does_not_matter(tmp_path: Path, size: int) -> None:
    members = members_of(TILES[0], range(2))
    data = packed(tmp_path, members)
    reader = ArchiveReader(decompress(Drop(data, size)), IMAGES_ROOT, "images")
    assert [blocks.content for _, blocks in reader] == [content for _, content in members]


def test_an_empty_file_is_no_archive() -> None:
    with pytest.raises(ArchiveError, match=r"expected a \.tar\.zst, found an empty file; fetch it again"):
        list(decompress(io.BytesIO(b"")))


@pytest.mark.parametrize(
    "data", [b"\x1f\x8b\x08gzip", b"<!DOCTYPE html>", bytes(600), b"BigEarthNet-S2/" + bytes(600)]
)
def test_what_is_no_zstd_is_refused(data: bytes) -> None:
    with pytest.raises(
        ArchiveError, match=rf"expected zstd data, found something else before byte {len(data)} .* fetch it"
    ):
        list(decompress(io.BytesIO(data)))


def test_what_stands_behind_the_frame_is_refused(tmp_path: Path) -> None:
    data = packed(tmp_path, members_of(TILES[0], range(1)))
    with pytest.raises(
        ArchiveError, match=r"^images\.tar\.zst: expected zstd data, found something else before"
    ):
        everything(data + b"<html>")


def test_a_window_larger_than_a_small_machine_has_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(b"1" * 1000) + compressor.flush()
    with pytest.raises(ArchiveError, match="too much memory"):
        list(decompress(io.BytesIO(data)))


def test_an_archive_that_is_cut_off_is_never_taken_for_whole(tmp_path: Path) -> None:
    data = packed(tmp_path, members_of(TILES[0], range(2)))
    sizes = {
        *range(1, len(data), 499),
        *range(len(data) - 40, len(data)),
    }  # the last 4 bytes are the checksum
    for size in sorted(sizes):
        with pytest.raises(
            ArchiveError, match=rf"^images\.tar\.zst: .* after {size:,} bytes: it was cut off; fetch it"
        ):
            everything(data[:size])


SMALL = members_of(TILES[0], range(1), ["B02", "B03", "B04"], size=300)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return packed(tmp_path_factory.mktemp("small"), SMALL)


def check_flip(data: bytes, at: int, flip: int) -> None:
    """Some bits have no say in the content: another window, or another way to write the same copy."""
    changed = bytearray(data)
    changed[at] ^= flip
    try:
        found = everything(bytes(changed))
    except ArchiveError:
        return
    assert found == SMALL


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_never_changes_the_content_unnoticed(small: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(small) - 1))
    check_flip(small, at, data.draw(st.integers(1, 255)))


def test_nor_does_any_bit_of_the_header_and_the_checksum(small: bytes) -> None:
    for at in [*range(12), *range(len(small) - 12, len(small))]:
        for bit in range(8):
            check_flip(small, at, 1 << bit)
