import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive.bundle import Bundles, Extractor, PatchFiles, index_archive, join, patch_files
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.errors import ArchiveError
from bigearthnet.names import BANDS, IMAGES_ROOT, MAPS_ROOT, RGB_BANDS
from bigearthnet.options import Selection
from bigearthnet.plan.selection import Plan, matches, plan
from bigearthnet.sample.archives import write_archive

A, B, C, D, E = (f"S2A_MSIL2A_2017061{i}T101031_N9999_R022_T33UUP" for i in range(5))


def image_members(patch_id: str, bands: Iterable[str] = BANDS) -> list[tuple[str, bytes]]:
    path = f"BigEarthNet-S2/{patch_id[:-6]}/{patch_id}/{patch_id}"
    return [(f"{path}_{band}.tif", f"{band} of {patch_id}".encode() * 20) for band in bands]


def map_member(patch_id: str) -> tuple[str, bytes]:
    path = f"Reference_Maps/{patch_id[:-6]}/{patch_id}/{patch_id}_reference_map.tif"
    return path, f"map of {patch_id}".encode() * 9


def patches_of(tile: str, *rows: int) -> list[str]:
    return [f"{tile}_07_{row:02d}" for row in rows]


@dataclass
class Reading:
    """How far an archive was read."""

    data: bytes
    at: int = 0

    def read(self, size: int, /) -> bytes:
        piece = self.data[self.at : self.at + size]
        self.at += len(piece)
        return piece


@dataclass
class Source:
    """Both archives, and what is planned of them."""

    images: bytes
    maps: bytes
    plan: Plan
    selection: Selection

    def extractor(self) -> tuple[Extractor, Reading]:
        reading = Reading(self.images)
        return Extractor(
            ArchiveReader(decompress(reading), IMAGES_ROOT, "images.tar.zst"),
            ArchiveReader(decompress(io.BytesIO(self.maps)), MAPS_ROOT, "maps.tar.zst"),
            self.plan,
            lambda tile: matches(tile, self.selection),
        ), reading


Pack = Callable[..., Source]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    def packed(images: list[str], maps: list[str], selection: Selection | None = None) -> Source:
        write_archive(tmp_path / "i", (m for p in images for m in image_members(p)), level=1)
        write_archive(tmp_path / "m", (map_member(p) for p in maps), level=1)
        chosen = selection or Selection()
        with (tmp_path / "m").open("rb") as file:
            index = index_archive(ArchiveReader(decompress(file), MAPS_ROOT, "maps.tar.zst"))
        return Source(
            (tmp_path / "i").read_bytes(), (tmp_path / "m").read_bytes(), plan(index, None, chosen), chosen
        )

    return packed


def listed(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path, mode="r:") as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def extract_all(source: Source, folder: Path, skip: Iterable[str] = ()) -> dict[str, Bundles]:
    folder.mkdir(exist_ok=True)
    extractor, _ = source.extractor()
    todo = [tile for tile in source.plan.tiles if tile.tile not in skip]
    return {tile.tile: extractor.extract(tile, folder) for tile in todo}


def test_bundles_are_tars_of_exactly_what_is_wanted(tmp_path: Path, pack: Pack) -> None:
    patches = [*patches_of(A, 0, 1), *patches_of(B, 3, 4, 5), *patches_of(C, 0)]
    source = pack(patches, patches, Selection(tiles=(A, B), max_patches=4))
    bundles = extract_all(source, tmp_path / "bundles")
    assert bundles.keys() == {A, B}
    for tile, wanted in ((A, patches_of(A, 0, 1)), (B, patches_of(B, 3, 4))):
        expected = [m for p in wanted for m in image_members(p, ["B02", "B03", "B04"])]
        assert listed(bundles[tile].images) == expected
        assert listed(bundles[tile].maps) == [map_member(p) for p in wanted]
        assert bundles[tile].strays == ()
        found = list(patch_files(bundles[tile], wanted))
        assert found == [
            PatchFiles(p, {m[0][-7:-4]: m[1] for m in image_members(p, RGB_BANDS)}, map_member(p)[1])
            for p in wanted
        ]


@pytest.mark.parametrize("lacking", ["images", "maps"])
def test_a_tile_that_one_archive_lacks_has_an_empty_bundle(tmp_path: Path, pack: Pack, lacking: str) -> None:
    everything = [*patches_of(A, 0), *patches_of(B, 0, 1), *patches_of(C, 0)]
    without = [p for p in everything if not p.startswith(B)]
    source = pack(without, everything) if lacking == "images" else pack(everything, without)
    bundles = extract_all(source, tmp_path / "bundles")
    if lacking == "images":
        assert listed(bundles[B].images) == []
        wanted = patches_of(B, 0, 1)
        assert list(patch_files(bundles[B], wanted)) == [PatchFiles(p, {}, map_member(p)[1]) for p in wanted]
    else:
        assert B not in bundles  # nobody has planned it: its patches are strays
        assert bundles[C].strays == tuple(patches_of(B, 0, 1))
    assert len(listed(bundles[C].images)) == 3
    assert listed(bundles[C].maps) == [map_member(f"{C}_07_00")]


STRAYS = {
    B: [*patches_of(A, 0, 1), *patches_of(B, 2)],  # a tile before the first, a patch in a tile
    D: [*patches_of(C, 5), *patches_of(D, 0, 9)],  # a tile between two, patches at the ends of a tile
}
LAST = {D: [*STRAYS[D], *patches_of(E, 0, 1)]}  # a tile behind the last
KNOWN = [*patches_of(B, 1, 3), *patches_of(D, 1, 2)]


def strays_of(bundles: dict[str, Bundles]) -> dict[str, list[str]]:
    return {tile: list(found.strays) for tile, found in bundles.items()}


def test_strays_are_found_once_each_with_the_tile_that_they_count_with(tmp_path: Path, pack: Pack) -> None:
    strays = STRAYS | LAST
    source = pack(sorted([*KNOWN, *strays[B], *strays[D]]), KNOWN)
    assert strays_of(extract_all(source, tmp_path / "bundles")) == strays


def test_strays_do_not_depend_on_what_was_done_before(tmp_path: Path, pack: Pack) -> None:
    known = [*KNOWN, *patches_of("S2B_MSIL2A_20170615T101031_N9999_R022_T33UUP", 4)]
    strays = [*STRAYS[B], *STRAYS[D], *LAST[D][-2:]]
    source = pack(sorted([*known, *strays]), known)
    tiles = [tile.tile for tile in source.plan.tiles]
    whole = strays_of(extract_all(source, tmp_path / "whole"))
    assert sorted(one for found in whole.values() for one in found) == sorted(strays)
    for count in range(1, len(tiles)):
        for skip in combinations(tiles, count):
            part = strays_of(extract_all(source, tmp_path / "-".join(skip), skip))
            assert part == {tile: whole[tile] for tile in tiles if tile not in skip}


def test_strays_count_only_where_everything_is_asked_for(tmp_path: Path, pack: Pack) -> None:
    images = sorted([*KNOWN, *STRAYS[B], *STRAYS[D], *LAST[D][-2:]])
    source = pack(images, KNOWN, Selection(max_patches=3))
    assert strays_of(extract_all(source, tmp_path / "cut")) == {B: STRAYS[B], D: []}
    source = pack(images, KNOWN, Selection(tiles=(B, D)))
    assert strays_of(extract_all(source, tmp_path / "named")) == {B: patches_of(B, 2), D: patches_of(D, 0, 9)}
    source = pack(images, KNOWN, Selection(tiles=(C, D, E)))
    assert strays_of(extract_all(source, tmp_path / "later")) == {D: LAST[D]}


def test_a_map_without_an_image_is_no_stray(tmp_path: Path, pack: Pack) -> None:
    source = pack(patches_of(B, 1), patches_of(B, 0, 1, 2))
    bundles = extract_all(source, tmp_path / "bundles")
    assert bundles[B].strays == ()
    assert [bool(files.bands) for files in patch_files(bundles[B], patches_of(B, 0, 1, 2))] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("tiles", "least", "most"),
    [((A,), 0.15, 0.55), ((A, B), 0.4, 0.8), ((A, B, C), 1, 1)],
    ids=["1", "2", "3"],
)
def test_the_images_are_read_only_as_far_as_needed(
    tmp_path: Path, pack: Pack, tiles: tuple[str, ...], least: float, most: float
) -> None:
    patches = [p for tile in (A, B, C) for p in patches_of(tile, *range(90))]
    source = pack(patches, patches, Selection(tiles=tiles))
    tar = b"".join(decompress(io.BytesIO(source.images)))
    reading = Reading(tar)  # not compressed: as long as what it holds
    extractor = Extractor(
        ArchiveReader(iter(lambda: reading.read(1 << 16), b""), IMAGES_ROOT, "images"),
        ArchiveReader(decompress(io.BytesIO(source.maps)), MAPS_ROOT, "maps"),
        source.plan,
        lambda tile: matches(tile, source.selection),
    )
    for tile in source.plan.tiles:
        extractor.extract(tile, tmp_path)
    assert least <= reading.at / len(tar) <= most


def test_damage_behind_the_last_tile_is_found_if_the_archive_is_read_to_its_end(
    tmp_path: Path, pack: Pack
) -> None:
    source = pack(patches_of(A, 0), patches_of(A, 0))
    source.images = source.images[:-1] + bytes([source.images[-1] ^ 1])
    with pytest.raises(ArchiveError, match=r"^images\.tar\.zst: .*doesn't match checksum"):
        extract_all(source, tmp_path / "bundles")


def test_the_index_lists_what_an_archive_holds(tmp_path: Path) -> None:
    patches = [f"{A}_00_00", f"{A}_00_99", f"{A}_99_98", f"{B}_26_57"]
    write_archive(tmp_path / "maps", map(map_member, patches))
    with (tmp_path / "maps").open("rb") as file:
        index = index_archive(ArchiveReader(decompress(file), MAPS_ROOT, "maps"))
    assert {tile: places.tolist() for tile, places in index.items()} == {A: [0, 99, 9998], B: [2657]}
    write_archive(tmp_path / "images", (m for p in patches for m in image_members(p)))
    with (tmp_path / "images").open("rb") as file:
        again = index_archive(ArchiveReader(decompress(file), IMAGES_ROOT, "images"))
    assert {tile: places.tolist() for tile, places in again.items()} == {A: [0, 99, 9998], B: [2657]}


def test_an_archive_without_any_patch_has_no_index(tmp_path: Path) -> None:
    write_archive(tmp_path / "maps", [])
    with (
        (tmp_path / "maps").open("rb") as file,
        pytest.raises(
            ArchiveError, match=r"^maps\.tar\.zst: expected patches, found an archive without any; fetch it"
        ),
    ):
        index_archive(ArchiveReader(decompress(file), MAPS_ROOT, "maps.tar.zst"))


letters = st.text("abcdefgh", min_size=1, max_size=1)


@settings(deadline=None)
@given(st.sets(letters), st.data())
def test_join_is_a_look_up_by_patch_id(patch_ids: set[str], data: st.DataObject) -> None:
    some = st.sets(st.sampled_from(sorted(patch_ids))) if patch_ids else st.just(set[str]())
    bands = {p: {"B04": p.encode()} for p in data.draw(some)}
    maps = {p: {"reference_map": p.encode() * 2} for p in data.draw(some)}

    def ascending(found: dict[str, dict[str, bytes]]) -> Iterator[tuple[str, dict[str, bytes]]]:
        return iter(sorted(found.items()))

    assert list(join(sorted(patch_ids), ascending(bands), ascending(maps))) == [
        PatchFiles(p, bands.get(p, {}), maps.get(p, {}).get("reference_map")) for p in sorted(patch_ids)
    ]
