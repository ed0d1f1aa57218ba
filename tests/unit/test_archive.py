import io
import tarfile
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import zstandard

from bigearthnet.archive.reader import ArchiveReader, decompress, plain
from bigearthnet.archive.tar import END_OF_ARCHIVE
from bigearthnet.errors import ArchiveError
from bigearthnet.names import BANDS, IMAGES_ROOT, MAPS_ROOT, RGB_BANDS, Member
from tests.support.small_archives import (
    TILES,
    Counting,
    Members,
    copied,
    everything,
    members_of,
    packed,
    reader_of,
    wanted,
)

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
def test_no_more_is_read_than_needed(
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
