import io
import random
import tarfile
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive import ArchiveReader, Wanted, decompress, plain
from bigearthnet.errors import ArchiveError
from bigearthnet.names import BANDS, IMAGES_ROOT, MAPS_ROOT, RGB_BANDS, Member
from bigearthnet.sample import write_archive
from bigearthnet.tar import END_OF_ARCHIVE, walk

TILES = [f"S2A_MSIL2A_2017061{i}T101031_N9999_R022_T33UUP" for i in range(4)]

Members = list[tuple[str, bytes]]


def members_of(tile: str, rows: Iterable[int], bands: Iterable[str] = BANDS, size: int = 600) -> Members:
    """Members of the images' archive with contents of their own, which do not compress."""
    paths = [
        f"BigEarthNet-S2/{tile}/{tile}_05_{row:02d}/{tile}_05_{row:02d}_{band}.tif"
        for row in rows
        for band in bands
    ]
    return [(path, random.Random(path).randbytes(size)) for path in paths]


def packed(folder: Path, members: Iterable[tuple[str, bytes]]) -> bytes:
    path = folder / "archive.tar.zst"
    write_archive(path, members, level=1)
    return path.read_bytes()


@dataclass
class Counting:
    """A source that knows how much was read of it."""

    data: bytes
    at: int = field(default=0)

    def read(self, size: int, /) -> bytes:
        piece = self.data[self.at : self.at + size]
        self.at += len(piece)
        return piece


def reader_of(data: bytes) -> ArchiveReader:
    return ArchiveReader(decompress(io.BytesIO(data)), IMAGES_ROOT, "images.tar.zst")


def everything(data: bytes) -> Members:
    return [
        (f"BigEarthNet-S2/{m.tile}/{m.patch_id}/{m.patch_id}_{m.layer}.tif", blocks.content)
        for m, blocks in reader_of(data)
    ]


def wanted(tile: str, rows: Iterable[int], *, to_the_end: bool, layers: Iterable[str] = RGB_BANDS) -> Wanted:
    return Wanted(tile, {f"{tile}_05_{row:02d}" for row in rows}, tuple(layers), to_the_end)


def copied(sink: io.BytesIO) -> Members:
    return [(member.path.decode(), member.content) for member in walk(iter([sink.getvalue()]))]


# The compressed stream.


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


# What is in it.


def test_members_come_as_they_were_packed(tmp_path: Path) -> None:
    members = members_of(TILES[0], range(3)) + members_of(TILES[1], range(2))
    assert everything(packed(tmp_path, members)) == members


def test_reference_maps_have_a_layer_of_their_own(tmp_path: Path) -> None:
    patch_id = f"{TILES[0]}_05_07"
    data = packed(tmp_path, [(f"Reference_Maps/{TILES[0]}/{patch_id}/{patch_id}_reference_map.tif", b"map")])
    reader = ArchiveReader(decompress(io.BytesIO(data)), MAPS_ROOT, "maps")
    assert [(member, blocks.content) for member, blocks in reader] == [
        (Member(TILES[0], patch_id, "reference_map"), b"map")
    ]


def swapped(members: Members, one: int, other: int) -> Members:
    members = list(members)
    members[one], members[other] = members[other], members[one]
    return members


FIRST, SECOND = members_of(TILES[0], range(3)), members_of(TILES[1], range(2))


@pytest.mark.parametrize(
    ("members", "found", "behind"),
    [
        (swapped(FIRST, 3, 4), FIRST[3][0], FIRST[4][0]),
        (swapped(FIRST, 3, 20), FIRST[4][0], FIRST[20][0]),
        ([*FIRST[:5], FIRST[4]], FIRST[4][0], FIRST[4][0]),
        ([*FIRST[:12], *FIRST[24:], *FIRST[12:24]], FIRST[12][0], FIRST[-1][0]),
        ([*FIRST[:12], *SECOND, *FIRST[12:]], FIRST[12][0], SECOND[-1][0]),
        ([*SECOND, *FIRST], FIRST[0][0], SECOND[-1][0]),
    ],
    ids=["bands", "far apart", "twice", "patches", "a tile that comes back", "tiles"],
)
def test_members_out_of_order_are_refused(tmp_path: Path, members: Members, found: str, behind: str) -> None:
    message = f"expected members sorted by path and each once, found '{found}' behind '{behind}'"
    with pytest.raises(ArchiveError, match=rf"^images\.tar\.zst: {message}"):
        everything(packed(tmp_path, members))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (FIRST[30][0].replace("BigEarthNet-S2", "BigEarthNet-S1"), "behind S2A_.*_05_01"),
        (FIRST[24][0].replace("_B01.tif", "_B10.tif"), "behind S2A_.*_05_01"),
        (FIRST[13][0] + "f", "behind S2A_.*_05_01"),
        ("BigEarthNet-S2/README", "behind S2A_.*_05_01"),
        ("../" + FIRST[24][0], "behind S2A_.*_05_01"),
    ],
)
def test_a_member_of_another_name_is_refused_and_its_place_told(
    tmp_path: Path, path: str, place: str
) -> None:
    data = packed(tmp_path, [*FIRST[:24], (path, b"")])
    with pytest.raises(ArchiveError, match=rf"^images\.tar\.zst: expected members named .* \({place}\)$"):
        everything(data)


def test_another_archive_is_refused_at_its_beginning(tmp_path: Path) -> None:
    data = packed(tmp_path, [("BigEarthNet-S1/a/b/c.tif", b"")])
    with pytest.raises(ArchiveError, match=r"found 'BigEarthNet-S1/a/b/c\.tif'; .* \(at its beginning\)$"):
        everything(data)


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(FIRST[0][0].replace("_B01", "_B0\udcff")))
    reader = ArchiveReader(iter([data.getvalue()]), IMAGES_ROOT, "images")
    with pytest.raises(ArchiveError, match=r"_B0\\\\xff\.tif"):
        list(reader)


# Tile by tile.


def test_a_tile_is_copied_as_a_tar_of_what_is_wanted(tmp_path: Path) -> None:
    first, second, third = (members_of(tile, range(3)) for tile in TILES[:3])
    reader = reader_of(packed(tmp_path, [*first, *second, *third]))
    passed: list[Member] = []
    sink = io.BytesIO()
    count = reader.copy_tile(wanted(TILES[1], [0, 2], to_the_end=True), sink, on_passed=passed.append)
    expected = [
        (path, content) for path, content in second if path[-7:-4] in RGB_BANDS and "_05_01_" not in path
    ]
    assert copied(sink) == expected
    assert count == len(expected) == 6
    # Told of everything of the tile before, and of the patch that is not wanted; not of bands.
    assert [(m.tile, m.patch_id[-2:], m.layer) for m in passed] == [
        *((TILES[0], f"{row:02d}", band) for row in range(3) for band in BANDS),
        *((TILES[1], "01", band) for band in BANDS),
    ]
    # And nothing of the next tile is lost.
    sink = io.BytesIO()
    reader.copy_tile(wanted(TILES[2], range(3), to_the_end=True, layers=BANDS), sink, on_passed=passed.append)
    assert copied(sink) == third


def test_the_rest_of_a_tile_is_told_when_the_reader_goes_on(tmp_path: Path) -> None:
    reader = reader_of(
        packed(tmp_path, members_of(TILES[0], range(4), ["B02"]) + members_of(TILES[2], range(1), ["B02"]))
    )
    passed: list[Member] = []
    reader.copy_tile(wanted(TILES[0], [1], to_the_end=False), io.BytesIO(), on_passed=passed.append)
    assert [m.patch_id[-2:] for m in passed] == ["00"]
    sink = io.BytesIO()
    reader.copy_tile(wanted(TILES[1], [1], to_the_end=True), sink, on_passed=passed.append)
    assert [m.patch_id[-2:] for m in passed] == ["00", "02", "03"]
    assert sink.getvalue() == END_OF_ARCHIVE  # the archive has no such tile
    reader.copy_tile(wanted(TILES[2], [0], to_the_end=True), sink, on_passed=passed.append)
    assert [member.patch_id for member, _ in reader] == []
    assert len(passed) == 3


def test_a_wanted_patch_that_is_not_there_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    reader = reader_of(
        packed(tmp_path, members_of(TILES[0], [1, 3], ["B02"]) + members_of(TILES[1], [1], ["B02"]))
    )
    sinks = io.BytesIO(), io.BytesIO()
    assert (
        reader.copy_tile(wanted(TILES[0], [0, 2, 3, 4], to_the_end=False), sinks[0], on_passed=lambda _: None)
        == 1
    )
    assert reader.copy_tile(wanted(TILES[1], [1], to_the_end=True), sinks[1], on_passed=lambda _: None) == 1
    assert [path[-10:-8] for path, _ in copied(sinks[0])] == ["03"]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four tiles of ten patches, one band of 29 kB each; compressed 1.2 MB, a tile 0.3."""
    members = (m for tile in TILES for m in members_of(tile, range(10), ["B02"], size=29_196))
    return packed(tmp_path_factory.mktemp("long"), members)


@pytest.mark.parametrize(
    ("nth", "rows", "to_the_end", "last", "share"),
    [
        (0, [0], False, False, 1 / 40),
        (0, range(10), True, False, 1 / 4),
        (1, range(10), True, False, 2 / 4),
        (1, [4], False, False, 15 / 40),
        (1, [4], False, True, 15 / 40),
        (1, range(10), True, True, 1),
    ],
)
def test_no_more_is_read_than_needed(  # noqa: PLR0917
    long: bytes, nth: int, rows: Iterable[int], to_the_end: bool, last: bool, share: float
) -> None:
    source = Counting(long)
    reader = ArchiveReader(decompress(source), IMAGES_ROOT, "images")
    tile = wanted(TILES[nth], rows, to_the_end=to_the_end)
    reader.copy_tile(tile, io.BytesIO(), on_passed=lambda _: None, last=last)
    # Reads are of 128 KiB, and the header of the next member has to be seen.
    assert share * len(long) - 1000 <= source.at <= min(share * len(long) + 2 * (1 << 17), len(long))


def test_nothing_is_read_before_it_is_asked_for(long: bytes) -> None:
    source = Counting(long)
    ArchiveReader(decompress(source), IMAGES_ROOT, "images")
    assert source.at == 0


def test_the_last_tile_reads_and_tells_the_rest_and_checks_it(long: bytes) -> None:
    passed: list[Member] = []
    tile = wanted(TILES[2], range(10), to_the_end=True)
    reader_of(long).copy_tile(tile, io.BytesIO(), on_passed=passed.append, last=True)
    assert {member.tile for member in passed} == {TILES[0], TILES[1], TILES[3]}
    damaged = long[:-1] + bytes([long[-1] ^ 1])
    reader_of(damaged).copy_tile(tile, io.BytesIO(), on_passed=passed.append)
    with pytest.raises(ArchiveError, match=r"^images\.tar\.zst: expected zstd data.*checksum.*behind S2A_"):
        reader_of(damaged).copy_tile(tile, io.BytesIO(), on_passed=passed.append, last=True)


def test_a_plain_tar_reads_like_a_compressed_one(long: bytes) -> None:
    tar = b"".join(decompress(io.BytesIO(long)))
    reader = ArchiveReader(plain(io.BytesIO(tar)), IMAGES_ROOT, "bundle")
    assert [(m, blocks.content) for m, blocks in reader] == [(m, b.content) for m, b in reader_of(long)]


def frame_of(patches: int) -> Iterator[bytes]:
    """An archive of any length, made while it is read."""
    members = (
        m
        for tile in TILES
        for row in range(patches // 4)
        for m in members_of(tile, [row], ["B02"], size=29_196)
    )
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    for path, content in members:
        info = tarfile.TarInfo(path)
        info.size = len(content)
        yield compressor.compress(info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
    yield compressor.compress(END_OF_ARCHIVE) + compressor.flush()


class Joined:
    """Pieces as a source."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = filter(None, pieces)

    def read(self, size: int, /) -> bytes:  # noqa: ARG002 - gives what it has
        return next(self._pieces, b"")


def peak(patches: int) -> int:
    """Most bytes in use while an archive of so many patches is copied to nowhere."""

    class Nowhere(io.BytesIO):
        def write(self, data: object, /) -> int:  # noqa: ARG002
            return 0

    tracemalloc.start()
    reader = ArchiveReader(decompress(Joined(frame_of(patches))), IMAGES_ROOT, "images")
    for tile in TILES:
        asked = wanted(tile, range(100), to_the_end=True)
        reader.copy_tile(asked, Nowhere(), on_passed=lambda _: None, last=tile == TILES[-1])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_depend_on_the_length() -> None:
    peak(8)
    short, ten_times = peak(24), peak(240)
    assert ten_times < 1.25 * short < 4 << 20
