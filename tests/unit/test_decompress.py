import io
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive.reader import decompress
from bigearthnet.errors import ArchiveError
from tests.support.small_archives import TILES, everything, members_of, packed


class Pieces(io.BytesIO):
    """A file of which a read gives at most `most` bytes."""

    most: int

    def read(self, size: int | None = None, /) -> bytes:
        return super().read(self.most if size is None else min(size, self.most))


def whole(data: bytes) -> bytes:
    return b"".join(decompress(io.BytesIO(data)))


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.booleans(), st.sampled_from([1, 7, 9999])
)
def test_frames_one_after_the_other_are_one_content(parts: list[bytes], checksum: bool, most: int) -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=checksum)
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0size"  # as pzstd writes before each frame
    data = b"".join(skipped + compressor.compress(part) for part in parts)
    source = Pieces(data)
    source.most = most
    assert b"".join(decompress(source)) == b"".join(parts)


@pytest.mark.parametrize(
    "data", [b"\x1f\x8b\x08gzip", b"<!DOCTYPE html>", bytes(600), b"BigEarthNet-S2/" + bytes(600)]
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"^this is not zstd, or damaged "):
        whole(data)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ArchiveError, match="the tar is cut off"):
        everything(b"")


def test_anything_behind_the_frame_is_refused(tmp_path: Path) -> None:
    data = packed(tmp_path, members_of(TILES[0], range(1)))
    with pytest.raises(ArchiveError, match=r"^images\.tar\.zst, .*: this is not zstd, or damaged"):
        everything(data + b"<html>")


@pytest.mark.parametrize(("log", "accepted"), [(27, True), (28, False)])
def test_windows_have_a_limit(log: int, accepted: bool) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(b"1" * 1000) + compressor.flush()
    if accepted:
        assert whole(data) == b"1" * 1000
    else:
        with pytest.raises(ArchiveError, match="too much memory"):
            whole(data)


def test_one_chunk_has_a_limit() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 29))
    assert len(bomb) < 20_000
    program = """
import resource, sys
from bigearthnet.archive.reader import decompress
def memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = memory()
sizes = [len(chunk) for chunk in decompress(sys.stdin.buffer)]
print(sum(sizes), max(sizes), memory() - before < 32)
"""
    made = subprocess.run([sys.executable, "-c", program], input=bomb, capture_output=True, check=True).stdout
    assert made.split() == [b"%d" % (1 << 29), b"%d" % (1 << 18), b"True"]


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    data = packed(tmp_path, members_of(TILES[0], range(2)))
    end = len(data) - 4  # of the content; then comes its checksum
    for size in {*range(1, end, 499), *range(end - 40, end)}:
        with pytest.raises(ArchiveError, match="the tar is cut off"):
            everything(data[:size])


SMALL = members_of(TILES[0], range(1), ["B02", "B03", "B04"], size=300)


def test_a_changed_bit_never_changes_the_content_unnoticed(tmp_path: Path) -> None:
    data = packed(tmp_path, SMALL)
    for at in {*range(12), *range(0, len(data), 23), *range(len(data) - 12, len(data))}:
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            try:
                found = everything(bytes(changed))
            except ArchiveError:
                continue
            assert found == SMALL  # the bit does not matter: another window, or another way to copy the same
