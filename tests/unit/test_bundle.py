import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive.bundle import Bundles, Extractor, TileRequest, index_archive, patch_files
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.errors import ArchiveError, SpaceError
from bigearthnet.names import BANDS, IMAGES_ROOT, MAP, MAPS_ROOT, RGB_BANDS, TILES_LIMIT
from tests.support.small_archives import Members, packed

TRUE_COLOUR = RGB_BANDS["true_colour"]

A, B, C = (f"S2A_MSIL2A_2017061{i}T101031_N9999_R022_T33UUP" for i in range(3))


def images_of(patch_id: str, bands: Iterable[str] = BANDS) -> Members:
    path = f"BigEarthNet-S2/{patch_id[:-6]}/{patch_id}/{patch_id}"
    return [(f"{path}_{band}.tif", f"{band} of {patch_id}".encode() * 20) for band in sorted(bands)]


def map_of(patch_id: str) -> Members:
    path = f"Reference_Maps/{patch_id[:-6]}/{patch_id}/{patch_id}_reference_map.tif"
    return [(path, f"map of {patch_id}".encode() * 9)]


def patches_of(tile: str, *rows: int) -> list[str]:
    return [f"{tile}_07_{row:02d}" for row in rows]


class Archives:
    """Archives of the same patches, as plain tars, and how much of each was read."""

    def __init__(self, folder: Path, patches: list[str]) -> None:
        members = ([one for patch in patches for one in of(patch)] for of in (images_of, map_of))
        self.tars = [b"".join(decompress(io.BytesIO(packed(folder, of)))) for of in members]
        self.read = [0, 0]

    def chunks(self, which: int) -> Iterator[bytes]:
        while self.read[which] < len(self.tars[which]):
            self.read[which] += 1 << 14
            yield self.tars[which][self.read[which] - (1 << 14) : self.read[which]]

    def extractor(self) -> Extractor:
        self.read = [0, 0]
        return Extractor(
            ArchiveReader(self.chunks(0), IMAGES_ROOT, "images"),
            ArchiveReader(self.chunks(1), MAPS_ROOT, "maps"),
            TRUE_COLOUR,
        )


def request(
    tile: str,
    images: list[str],
    maps: list[str] | None = None,
    known: Iterable[int] | None = None,
    *,
    complete: bool = True,
    last: bool = False,
) -> TileRequest:
    cells = None if known is None else np.array([700 + row for row in known], np.uint16)
    return TileRequest(tile, images, images if maps is None else maps, cells, complete, last)


def listed(path: Path | None) -> Members:
    assert path is not None
    with tarfile.open(path, mode="r:") as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def test_bundles_are_tars_of_exactly_what_is_wanted(tmp_path: Path) -> None:
    everything = [*patches_of(A, 0, 1), *patches_of(B, 3, 4, 5), *patches_of(C, 0)]
    extractor = Archives(tmp_path, everything).extractor()
    for tile, images, maps in [
        (A, patches_of(A, 1), patches_of(A, 0)),
        (C, patches_of(C, 0, 9), patches_of(C, 0)),  # a tile is left out, and a patch is not there
    ]:
        bundles = extractor.extract(request(tile, images, maps), tmp_path)
        there = [patch for patch in images if patch in everything]
        assert listed(bundles.images) == [one for p in there for one in images_of(p, TRUE_COLOUR)]
        assert listed(bundles.maps) == [one for p in maps for one in map_of(p)]
        assert bundles.unknown == ()
        bundles.remove()
        assert [path.name for path in tmp_path.iterdir()] == ["archive.tar.zst"]


def test_what_nothing_is_wanted_of_is_not_read(tmp_path: Path) -> None:
    archives, one = Archives(tmp_path, patches_of(A, 0)), patches_of(A, 0)
    only_maps = archives.extractor().extract(request(A, [], one), tmp_path)
    assert (only_maps.images, archives.read[0]) == (None, 0)
    only_images = archives.extractor().extract(request(A, one, []), tmp_path)
    assert (only_images.maps, archives.read[1], len(listed(only_images.images))) == (None, 0, 3)


@pytest.mark.parametrize("wanted", [[1, 3], []], ids=["some", "none"])
def test_unknown_patches_of_the_tile_are_reported_once(tmp_path: Path, wanted: list[int]) -> None:
    archives = Archives(tmp_path, [*patches_of(A, 8), *patches_of(B, 0, 1, 2, 3, 9), *patches_of(C, 8)])
    asked = request(B, patches_of(B, *wanted), known=[1, 3, 4], last=True)
    bundles = archives.extractor().extract(asked, tmp_path)
    assert bundles.unknown == tuple(patches_of(B, 0, 2, 9))
    assert len(listed(bundles.images)) == 3 * len(wanted)
    assert archives.extractor().extract(request(B, patches_of(B, 1)), tmp_path).unknown == ()


@pytest.mark.parametrize(
    ("complete", "last", "least", "most"),
    [(False, False, 0.33, 0.45), (True, False, 0.6, 0.75), (True, True, 1, 1.1)],
)
def test_archives_are_read_only_as_far_as_needed(
    tmp_path: Path, *, complete: bool, last: bool, least: float, most: float
) -> None:
    archives = Archives(tmp_path, [patch for tile in (A, B, C) for patch in patches_of(tile, *range(90))])
    asked = request(B, patches_of(B, 9), complete=complete, last=last)
    archives.extractor().extract(asked, tmp_path)
    for read, tar in zip(archives.read, archives.tars, strict=True):
        assert least <= read / len(tar) <= most


@pytest.mark.parametrize("kind", ["images", "maps"])
def test_a_full_disk_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{A}.{kind}.tar"
    path.symlink_to("/dev/full")
    with pytest.raises(SpaceError, match=f"cannot write {path}: the disk is full"):
        Archives(tmp_path, patches_of(A, 0)).extractor().extract(request(A, patches_of(A, 0)), tmp_path)


def test_the_index_lists_tiles_and_cells(tmp_path: Path) -> None:
    patches = [f"{A}_00_00", f"{A}_00_99", f"{A}_99_98", f"{B}_26_57"]
    for root, members_of in ((MAPS_ROOT, map_of), (IMAGES_ROOT, images_of)):
        data = packed(tmp_path, (one for patch in patches for one in members_of(patch)))
        index = index_archive(ArchiveReader(decompress(io.BytesIO(data)), root, "it"))
        assert {tile: cells.tolist() for tile, cells in index.items()} == {A: [0, 99, 9998], B: [2657]}
    empty = ArchiveReader(decompress(io.BytesIO(packed(tmp_path, []))), MAPS_ROOT, "maps.tar.zst")
    with pytest.raises(ArchiveError, match=r"^maps\.tar\.zst \w+ no patches\. Fetch it again\.$"):
        index_archive(empty)


def test_the_number_of_tiles_has_a_limit(tmp_path: Path) -> None:
    tiles = [f"S2A_MSIL2A_{n:08d}T101031_N9999_R022_T33UUP" for n in range(TILES_LIMIT + 1)]
    data = packed(tmp_path, (one for tile in tiles for one in map_of(f"{tile}_00_00")))
    with pytest.raises(ArchiveError, match="it has more than 1,000 tiles"):
        index_archive(ArchiveReader(decompress(io.BytesIO(data)), MAPS_ROOT, "it"))


rows = st.sets(st.integers(0, 9))


@settings(deadline=None, max_examples=40)
@given(asked=rows, images=rows, maps=rows, none=st.booleans())
def test_patch_files_look_up_each_patch(
    tmp_path_factory: pytest.TempPathFactory, asked: set[int], images: set[int], maps: set[int], none: bool
) -> None:
    folder = tmp_path_factory.mktemp("bundles")
    images, maps = images & asked, maps & asked
    wanted = request(A, patches_of(A, *images), patches_of(A, *maps))
    bundles = Archives(folder, patches_of(A, *range(10))).extractor().extract(wanted, folder)
    if none:
        bundles, images = Bundles(None, bundles.maps, ()), set()
    found = list(patch_files(bundles, patches_of(A, *sorted(asked))))
    expected: list[dict[str, bytes]] = []
    for row in sorted(asked):
        patch_id = f"{A}_07_{row:02d}"
        bands = {path[-7:-4]: data for path, data in images_of(patch_id, TRUE_COLOUR) if row in images}
        expected.append(bands | ({MAP: map_of(patch_id)[0][1]} if row in maps else {}))
    assert found == expected
