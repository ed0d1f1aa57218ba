import io
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive import bundle
from bigearthnet.archive.bundle import TileRequest
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.archive.tar import END_OF_ARCHIVE
from bigearthnet.errors import ArchiveError
from bigearthnet.names import BANDS, IMAGES_ROOT, RGB_BANDS, pack_command
from tests.support.archives import tar
from tests.support.small_archives import TILES, Members, copy_tile, everything, members_of, packed, reader_of

FIRST, SECOND = members_of(TILES[0], range(3)), members_of(TILES[1], range(2))


def swapped(one: int, other: int) -> Members:
    members = list(FIRST)
    members[one], members[other] = members[other], members[one]
    return members


@pytest.mark.parametrize(
    ("members", "found", "behind"),
    [
        (swapped(3, 4), FIRST[3], FIRST[4]),
        (swapped(3, 20), FIRST[4], FIRST[20]),
        ([*FIRST[:5], FIRST[4]], FIRST[4], FIRST[4]),
        ([*FIRST[:12], *FIRST[24:], *FIRST[12:24]], FIRST[12], FIRST[-1]),
        ([*FIRST[:12], *SECOND, *FIRST[12:]], FIRST[12], SECOND[-1]),
    ],
    ids=["bands", "far apart", "twice", "patches", "a tile that comes back"],
)
def test_unsorted_members_are_refused(
    tmp_path: Path, members: Members, found: tuple[str, bytes], behind: tuple[str, bytes]
) -> None:
    message = f"members are not sorted: '{found[0]}' follows '{behind[0]}'. Pack the archive again: find Big"
    with pytest.raises(ArchiveError, match=rf"^images\.tar\.zst, behind S2A_.*: {message}"):
        everything(packed(tmp_path, members))


@pytest.mark.parametrize(
    "path",
    [
        FIRST[24][0].replace("_B01.tif", "_B10.tif"),
        FIRST[13][0] + ".aux.xml",
        FIRST[24][0].replace("_02/", "_02/._"),
        "BigEarthNet-S2/.DS_Store",
    ],
)
def test_foreign_members_are_refused_with_the_command_that_packs_none(tmp_path: Path, path: str) -> None:
    message = (
        rf"^images\.tar\.zst, {{}}: '{path}' is not a member of the form BigEarthNet-S2/<tile>/.*"
        r"pack it again: find BigEarthNet-S2 .* \| zstd -f -o BigEarthNet-S2\.tar\.zst$"
    )
    with pytest.raises(ArchiveError, match=message.format("behind S2A_.*_05_01")):
        everything(packed(tmp_path, [*FIRST[:24], (path, b"")]))
    with pytest.raises(ArchiveError, match=message.format("at its beginning")):
        everything(packed(tmp_path, [(path, b"")]))


@pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")
def test_the_command_packs_an_archive_that_is_read(tmp_path: Path) -> None:
    for path, content in [*SECOND, *FIRST]:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.with_name(f"{file.name}.aux.xml").write_bytes(b"<x/>")
        file.with_name(f"._{file.name}").write_bytes(b"resource fork")
    (tmp_path / "BigEarthNet-S2" / ".DS_Store").write_bytes(b"")
    subprocess.run(["bash", "-c", pack_command(IMAGES_ROOT)], cwd=tmp_path, check=True, capture_output=True)
    assert everything((tmp_path / "BigEarthNet-S2.tar.zst").read_bytes()) == FIRST + SECOND


def test_paths_may_begin_with_a_dot_and_folders_have_entries() -> None:
    entries = []
    for folder in ("./", "./BigEarthNet-S2/", f"./BigEarthNet-S2/{TILES[0]}/"):
        entries.append((tarfile.TarInfo(folder), b""))
        entries[-1][0].type = tarfile.DIRTYPE
    for path, content in FIRST:
        entries.append((tarfile.TarInfo(f"./{path}"), content))
        entries[-1][0].size = len(content)
    data = tar(entries)
    assert everything(data) == FIRST
    copied, _ = copy_tile(reader_of(data), TILES[0], [1], BANDS)
    assert copied == [(f"./{path}", content) for path, content in FIRST[12:24]]


def test_names_that_are_not_utf8_are_refused() -> None:
    data = tar([(tarfile.TarInfo(FIRST[0][0].replace("_B01", "_B0\udcff")), b"")])
    with pytest.raises(ArchiveError, match=r"_B0\\\\xff\.tif"):
        everything(data)


def test_tiles_may_end_early_or_be_missing(tmp_path: Path) -> None:
    members = members_of(TILES[0], [0, 1, 3, 4], ["B02"]) + members_of(TILES[2], [1], ["B02"])
    reader = reader_of(packed(tmp_path, members))
    assert copy_tile(reader, TILES[0], [1, 2, 3], complete=False) == (members[1:3], ["00"])
    assert copy_tile(reader, TILES[1], [1]) == ([], [])
    assert copy_tile(reader, TILES[2], [1]) == (members[-1:], [])
    assert list(reader) == []


def test_the_rest_is_read_and_checked(tmp_path: Path) -> None:
    data = packed(tmp_path, members_of(TILES[0], range(40)) + members_of(TILES[1], range(40)))
    damaged = reader_of(data[:-1] + bytes([data[-1] ^ 1]))
    copy_tile(damaged, TILES[0], [0])
    with pytest.raises(ArchiveError, match=r"^images\.tar\.zst, behind S2A_.*not zstd, or damaged.*checksum"):
        copy_tile(damaged, TILES[0], [1], last=True)


def frame(patches: int) -> Iterator[bytes]:
    """An archive of any length, made while it is read."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    for tile in TILES[:4]:
        for row in range(patches // 4):
            ((path, content),) = members_of(tile, [row], ["B02"], size=29_196)
            info = tarfile.TarInfo(path)
            info.size = len(content)
            yield compressor.compress(info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
    yield compressor.compress(END_OF_ARCHIVE) + compressor.flush()


def peak(patches: int) -> int:
    """Most bytes in use while an archive is copied."""
    tracemalloc.start()
    pieces = filter(None, frame(patches))
    source = SimpleNamespace(read=lambda _: next(pieces, b""))
    reader = ArchiveReader(decompress(source), IMAGES_ROOT, "images")
    for tile in TILES[:4]:
        asked = [f"{tile}_05_{row:02d}" for row in range(100)]
        request = TileRequest(tile, asked, [], None, complete=True, last=tile == TILES[3])
        assert bundle.copy_tile(reader, request, asked, RGB_BANDS["true_colour"], Path("/dev/null")) == []
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_depend_on_the_length() -> None:
    peak(8)
    short, ten_times = peak(39), peak(390)
    assert ten_times < 1.5 * short < 4 << 20  # a chunk more where members span two


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
    file = io.BytesIO(data)
    in_pieces = SimpleNamespace(read=lambda size: file.read(min(size, most)))
    assert b"".join(decompress(in_pieces)) == b"".join(parts)


OTHERS = [b"\x1f\x8b\x08gzip", b"<!DOCTYPE html>", bytes(600), b"BigEarthNet-S2/" + bytes(600)]


@pytest.mark.parametrize("data", [*OTHERS, tar([]) + b"<html>"])
def test_other_files_and_anything_behind_the_frame_are_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"^images\.tar\.zst, .*: this is not zstd, or damaged "):
        everything(data)


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


def test_an_archive_that_is_cut_off_or_empty_is_refused(tmp_path: Path) -> None:
    data = packed(tmp_path, members_of(TILES[0], range(2)))
    end = len(data) - 4  # of the content; then comes its checksum
    for size in {*range(2), *range(1, end, 499), *range(end - 40, end)}:
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
