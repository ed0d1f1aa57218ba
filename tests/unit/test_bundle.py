import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest

from bigearthnet.archive import ArchiveReader, Bundles, PatchFiles, decompress, index_archive, patch_files
from bigearthnet.errors import ArchiveError
from bigearthnet.names import BANDS, IMAGES_ROOT, MAPS_ROOT, RGB_BANDS, Root
from bigearthnet.options import Selection
from bigearthnet.plan.selection import Plan, matches, plan
from bigearthnet.sample import write_archive
from bigearthnet.tile.extract import Extractor
from tests.support.small_archives import TILES, Counting

A, B, C, D, E = TILES


def image_members(patch_id: str, bands: Iterable[str] = BANDS) -> list[tuple[str, bytes]]:
    path = f"BigEarthNet-S2/{patch_id[:-6]}/{patch_id}/{patch_id}"
    return [(f"{path}_{band}.tif", f"{band} of {patch_id}".encode() * 20) for band in bands]


def map_member(patch_id: str) -> tuple[str, bytes]:
    path = f"Reference_Maps/{patch_id[:-6]}/{patch_id}/{patch_id}_reference_map.tif"
    return path, f"map of {patch_id}".encode() * 9


def patches_of(tile: str, *rows: int) -> list[str]:
    return [f"{tile}_07_{row:02d}" for row in rows]


def index_of(path: Path, root: Root, name: str = "maps.tar.zst") -> dict[str, list[int]]:
    with path.open("rb") as file:
        index = index_archive(ArchiveReader(decompress(file), root, name))
    return {tile: cells.tolist() for tile, cells in index.items()}


@dataclass
class Source:
    """Both archives, uncompressed, and the plan."""

    images: bytes
    maps: bytes
    plan: Plan
    selection: Selection

    def extract(self, folder: Path, skip: Iterable[str] = ()) -> tuple[dict[str, Bundles], float]:
        """Extract all planned tiles but some; also returns the share of the images that was read."""
        folder.mkdir(exist_ok=True)
        reading = Counting(self.images, most=1 << 16)
        extractor = Extractor(
            ArchiveReader(iter(lambda: reading.read(1 << 16), b""), IMAGES_ROOT, "images.tar.zst"),
            ArchiveReader(iter([self.maps]), MAPS_ROOT, "maps.tar.zst"),
            self.plan,
            lambda tile: matches(tile, self.selection),
        )
        todo = [tile for tile in self.plan.tiles if tile.tile not in skip]
        bundles = {tile.tile: extractor.extract(tile, folder) for tile in todo}
        return bundles, reading.at / len(self.images)

    def strays(self, folder: Path, skip: Iterable[str] = ()) -> dict[str, list[str]]:
        return {tile: list(found.strays) for tile, found in self.extract(folder, skip)[0].items()}


Pack = Callable[..., Source]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    def packed(images: list[str], maps: list[str], selection: Selection | None = None) -> Source:
        paths = tmp_path / "i", tmp_path / "m"
        write_archive(paths[0], (m for p in images for m in image_members(p)), level=1)
        write_archive(paths[1], (map_member(p) for p in maps), level=1)
        with paths[1].open("rb") as file:
            index = index_archive(ArchiveReader(decompress(file), MAPS_ROOT, "maps.tar.zst"))
        tars = [b"".join(decompress(io.BytesIO(path.read_bytes()))) for path in paths]
        selection = selection or Selection()
        return Source(*tars, plan(index, None, selection), selection)

    return packed


def listed(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path, mode="r:") as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def test_bundles_are_tars_of_exactly_what_is_wanted(tmp_path: Path, pack: Pack) -> None:
    patches = [*patches_of(A, 0, 1), *patches_of(B, 3, 4, 5), *patches_of(C, 0)]
    source = pack(patches, patches, Selection(tiles=(A, B), max_patches=4))
    bundles, _ = source.extract(tmp_path / "bundles")
    assert bundles.keys() == {A, B}
    for tile, wanted in ((A, patches_of(A, 0, 1)), (B, patches_of(B, 3, 4))):
        expected = [m for p in wanted for m in image_members(p, ["B02", "B03", "B04"])]
        assert listed(bundles[tile].images) == expected
        assert listed(bundles[tile].maps) == [map_member(p) for p in wanted]
        assert bundles[tile].strays == ()
        assert list(patch_files(bundles[tile], wanted)) == [
            PatchFiles(p, {m[0][-7:-4]: m[1] for m in image_members(p, RGB_BANDS)}, map_member(p)[1])
            for p in wanted
        ]


@pytest.mark.parametrize("images", [(), (0,), (2,), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("maps", [(), (3,), (0, 2), (0, 1, 2, 3)])
def test_patch_files_joins_images_and_maps(
    tmp_path: Path, images: tuple[int, ...], maps: tuple[int, ...]
) -> None:
    ids = patches_of(A, 0, 1, 2, 3)
    for name, members in (
        ("i", [m for n in images for m in image_members(ids[n], ["B02", "B04"])]),
        ("m", [map_member(ids[n]) for n in maps]),
    ):
        write_archive(tmp_path / f"{name}.zst", members)
        (tmp_path / name).write_bytes(
            b"".join(decompress(io.BytesIO((tmp_path / f"{name}.zst").read_bytes())))
        )
    found = list(patch_files(Bundles(tmp_path / "i", tmp_path / "m", ()), ids))
    assert [files.patch_id for files in found] == ids
    for n, files in enumerate(found):
        bands = {m[0][-7:-4]: m[1] for m in image_members(ids[n], ["B02", "B04"])}
        assert files.bands == (bands if n in images else {})
        assert files.map == (map_member(ids[n])[1] if n in maps else None)


@pytest.mark.parametrize("lacking", ["images", "maps"])
def test_a_tile_that_one_archive_lacks_has_an_empty_bundle(tmp_path: Path, pack: Pack, lacking: str) -> None:
    everything = [*patches_of(A, 0), *patches_of(B, 0, 1), *patches_of(C, 0)]
    without = [p for p in everything if not p.startswith(B)]
    source = pack(without, everything) if lacking == "images" else pack(everything, without)
    bundles, _ = source.extract(tmp_path / "bundles")
    if lacking == "images":
        assert listed(bundles[B].images) == []
        assert len(listed(bundles[B].maps)) == 2
    else:
        assert B not in bundles  # nobody has planned it: its patches are strays
        assert bundles[C].strays == tuple(patches_of(B, 0, 1))
    assert len(listed(bundles[C].images)) == 3
    assert listed(bundles[C].maps) == [map_member(f"{C}_07_00")]


STRAYS = {
    B: [*patches_of(A, 0, 1), *patches_of(B, 2)],  # a tile before the first, a patch in a tile
    D: [*patches_of(C, 5), *patches_of(D, 0, 9)],  # a tile between two, patches at the ends of a tile
}
AFTER = patches_of(E, 0, 1)  # a tile behind the last
KNOWN = [*patches_of(B, 1, 3), *patches_of(D, 1, 2)]
IMAGES = sorted([*KNOWN, *STRAYS[B], *STRAYS[D], *AFTER])


@pytest.mark.parametrize(
    ("selection", "strays"),
    [
        (Selection(), STRAYS | {D: [*STRAYS[D], *AFTER]}),
        (Selection(max_patches=3), {B: STRAYS[B], D: []}),
        (Selection(tiles=(B, D)), {B: patches_of(B, 2), D: patches_of(D, 0, 9)}),
        (Selection(tiles=(C, D, E)), {D: [*STRAYS[D], *AFTER]}),
    ],
    ids=["all", "cut", "named", "later"],
)
def test_strays_count_where_everything_is_selected(
    tmp_path: Path, pack: Pack, selection: Selection, strays: dict[str, list[str]]
) -> None:
    assert pack(IMAGES, KNOWN, selection).strays(tmp_path / "bundles") == strays


def test_strays_do_not_depend_on_which_tiles_were_extracted_before(tmp_path: Path, pack: Pack) -> None:
    known = [*KNOWN, *patches_of("S2B_MSIL2A_20170615T101031_N9999_R022_T33UUP", 4)]
    source = pack(sorted({*IMAGES, *known}), known)
    tiles = [tile.tile for tile in source.plan.tiles]
    whole = source.strays(tmp_path / "whole")
    assert sorted(one for found in whole.values() for one in found) == sorted({*IMAGES} - {*known})
    for count in range(1, len(tiles)):
        for skip in combinations(tiles, count):
            rest = source.strays(tmp_path / "-".join(skip), skip)
            assert rest == {tile: whole[tile] for tile in tiles if tile not in skip}


def test_a_map_without_an_image_is_not_a_stray(tmp_path: Path, pack: Pack) -> None:
    bundles, _ = pack(patches_of(B, 1), patches_of(B, 0, 1, 2)).extract(tmp_path / "bundles")
    assert bundles[B].strays == ()
    files = patch_files(bundles[B], patches_of(B, 0, 1, 2))
    assert [bool(one.bands) for one in files] == [False, True, False]


@pytest.mark.parametrize(("tiles", "least", "most"), [("A", 0.15, 0.55), ("AB", 0.4, 0.8), ("ABC", 1, 1)])
def test_images_are_read_only_as_far_as_needed(
    tmp_path: Path, pack: Pack, tiles: str, least: float, most: float
) -> None:
    patches = [p for tile in (A, B, C) for p in patches_of(tile, *range(90))]
    selection = Selection(tiles=tuple({"A": A, "B": B, "C": C}[name] for name in tiles))
    _, share = pack(patches, patches, selection).extract(tmp_path / "bundles")
    assert least <= share <= most


def test_the_index_lists_the_patches_of_an_archive(tmp_path: Path) -> None:
    patches = [f"{A}_00_00", f"{A}_00_99", f"{A}_99_98", f"{B}_26_57"]
    write_archive(tmp_path / "maps", map(map_member, patches))
    write_archive(tmp_path / "images", (m for p in patches for m in image_members(p)))
    expected = {A: [0, 99, 9998], B: [2657]}
    assert index_of(tmp_path / "maps", MAPS_ROOT) == index_of(tmp_path / "images", IMAGES_ROOT) == expected
    write_archive(tmp_path / "none", [])
    with pytest.raises(ArchiveError, match=r"^maps\.tar\.zst has no patches. Fetch it again.$"):
        index_of(tmp_path / "none", MAPS_ROOT)
