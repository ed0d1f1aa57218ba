import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import zstandard
from rasterio import Affine
from rasterio.io import MemoryFile
from rasterio.warp import transform as project

from bigearthnet.classes import BEN19, CLC, UNLABELLED, clc_positions, mask_values
from bigearthnet.names import (
    BANDS,
    IMAGES_ARCHIVE,
    IMAGES_ROOT,
    LAYERS,
    MAP,
    MAPS_ARCHIVE,
    MAPS_ROOT,
    METADATA_FILE,
    METADATA_FILES,
    METADATA_SNOW_CLOUD_SHADOW_FILE,
    Patch,
    parse_member,
    parse_patch,
)
from bigearthnet.sample import archives as sample
from bigearthnet.sample import landscape
from bigearthnet.sample.archives import (
    Sample,
    geotiff,
    make_sample,
    patch_files,
    sample_members,
    sample_patches,
    write_archive,
)

# Longitude and latitude, west, south, east, north, in whole degrees outwards.
COUNTRIES = {
    "Austria": (9, 46, 18, 50),
    "Belgium": (2, 49, 7, 52),
    "Finland": (19, 59, 32, 71),
    "Ireland": (-11, 51, -5, 56),
    "Kosovo": (20, 41, 22, 44),
    "Lithuania": (20, 53, 27, 57),
    "Luxembourg": (5, 49, 7, 51),
    "Portugal": (-10, 36, -6, 43),
    "Serbia": (18, 42, 23, 47),
    "Switzerland": (5, 45, 11, 48),
}
SIZES = {120: 29_196, 60: 7_572, 20: 1_172}
REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real BigEarthNet files beside the repository")


@dataclass(frozen=True, slots=True)
class Read:
    """What rasterio says of a GeoTIFF."""

    pixels: npt.NDArray[Any]
    epsg: int
    transform: Affine
    profile: dict[str, Any]


def read(content: bytes) -> Read:
    with MemoryFile(content) as memory, memory.open() as file:
        return Read(file.read(1), file.crs.to_epsg(), file.transform, dict(file.profile))


def side_of(layer: str) -> int:
    return {"B01": 20, "B09": 20, "B02": 120, "B03": 120, "B04": 120, "B08": 120, MAP: 120}.get(layer, 60)


def members_of(archive: Path) -> dict[str, bytes]:
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        return {member.name: tar.extractfile(member).read() for member in tar}


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / name).to_pylist()


def gnu_tar(folder: Path, paths: list[str]) -> bytes:
    version = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True).stdout
    if "GNU tar" not in version:
        pytest.skip(f"tar on PATH is not GNU tar: {version.splitlines()[0]}")
    owner = ["--owner=root:0", "--group=root:0", "--mode=0644", "--mtime=@1704067200"]
    command = ["tar", "--format=gnu", *owner, "--no-recursion", "-C", str(folder), "-cf", "-", "-T", "-"]
    return subprocess.run(command, input="\n".join(paths).encode(), capture_output=True, check=True).stdout


def as_gnu_tar(archive: Path, folder: Path, members: dict[str, bytes]) -> tuple[bytes, bytes]:
    """The archive's tar, and the one that GNU tar makes of the same files."""
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with archive.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        return stream.read(), gnu_tar(folder, list(members))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return make_sample(tmp_path_factory.mktemp("sample"), patches=36, tiles=3, seed=0)


@pytest.fixture(scope="module")
def layers(made: Sample) -> dict[str, dict[str, Read]]:
    """What the files in the archives say: patch id -> layer -> read."""
    found: dict[str, dict[str, Read]] = defaultdict(dict)
    for archive, root in ((IMAGES_ARCHIVE, IMAGES_ROOT), (MAPS_ARCHIVE, MAPS_ROOT)):
        for path, content in members_of(made.folder / archive).items():
            member = parse_member(path, root)
            found[member.patch_id][member.layer] = read(content)
    return found


def test_the_folder_holds_the_four_files_of_a_record(made: Sample) -> None:
    expected = {IMAGES_ARCHIVE, MAPS_ARCHIVE, METADATA_FILE, METADATA_SNOW_CLOUD_SHADOW_FILE}
    assert {path.name for path in made.folder.iterdir()} == expected
    assert made.patches == 36
    assert list(made.tiles) == sorted(made.tiles)


@pytest.mark.parametrize(
    ("archive", "root"), [(IMAGES_ARCHIVE, IMAGES_ROOT), (MAPS_ARCHIVE, MAPS_ROOT)], ids=["images", "maps"]
)
def test_members_are_sorted_and_each_patch_has_all_its_layers(made: Sample, archive: str, root: str) -> None:
    names = list(members_of(made.folder / archive))
    assert names == sorted(names)
    patches = Counter(parse_member(name, root).patch_id for name in names)
    assert list(patches) == [patch.patch_id for patch in sample_patches(36, 3, 0)]
    assert set(patches.values()) == {len(LAYERS[root])}
    assert tuple(dict.fromkeys(parse_member(name, root).tile for name in names)) == made.tiles


@pytest.mark.parametrize("archive", [IMAGES_ARCHIVE, MAPS_ARCHIVE])
def test_the_tar_is_what_gnu_tar_makes_of_its_files(made: Sample, archive: str, tmp_path: Path) -> None:
    ours, theirs = as_gnu_tar(made.folder / archive, tmp_path, members_of(made.folder / archive))
    assert ours == theirs
    assert ours.count(b"././@LongLink\0") == len(members_of(made.folder / archive))


def test_names_and_contents_of_any_length_are_as_gnu_tar_writes_them(tmp_path: Path) -> None:
    names = ("short.tif", "a" * 50 + "/" + "b" * 49, "c" * 50 + "/" + "d" * 50, "e" * 99, "é" * 60)
    members = {name: b"x" * size for name, size in zip(names, (0, 1, 512, 513, 9000), strict=True)}
    write_archive(tmp_path / "any.tar.zst", members.items())
    ours, theirs = as_gnu_tar(tmp_path / "any.tar.zst", tmp_path / "files", members)
    assert ours == theirs


@pytest.mark.parametrize("archive", [IMAGES_ARCHIVE, MAPS_ARCHIVE])
def test_an_archive_is_one_zstd_frame_with_a_checksum(made: Sample, archive: str) -> None:
    content = (made.folder / archive).read_bytes()
    frame = zstandard.get_frame_parameters(content)
    assert frame.has_checksum
    assert frame.content_size == zstandard.CONTENTSIZE_UNKNOWN
    assert frame.window_size == 2 << 20  # of level 6
    decoder = zstandard.ZstdDecompressor().decompressobj()
    decoder.decompress(content)
    assert (decoder.eof, decoder.unused_data) == (True, b"")
    with pytest.raises(zstandard.ZstdError, match="checksum"):
        zstandard.ZstdDecompressor().decompressobj().decompress(content[:-1] + bytes([content[-1] ^ 1]))


def test_the_level_is_that_asked_for(tmp_path: Path) -> None:
    write_archive(tmp_path / "fast.tar.zst", [("a", b"")], level=1)
    assert zstandard.get_frame_parameters((tmp_path / "fast.tar.zst").read_bytes()).window_size == 512 << 10


def test_members_go_out_in_the_order_given_and_may_be_wrong(tmp_path: Path) -> None:
    members = [("b", b"1"), ("../a", b"2")]
    write_archive(tmp_path / "wrong.tar.zst", members)
    assert list(members_of(tmp_path / "wrong.tar.zst").items()) == members


def test_an_archive_needs_no_memory_for_its_members(tmp_path: Path) -> None:
    members = ((f"{n}", os.urandom(1 << 20)) for n in range(24))
    tracemalloc.start()
    write_archive(tmp_path / "large.tar.zst", members, level=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_failure_leaves_the_earlier_archive_and_nothing_else(tmp_path: Path) -> None:
    def members() -> Iterator[tuple[str, bytes]]:
        yield "a", b"1"
        raise KeyboardInterrupt

    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt):
        write_archive(path, members())
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_sizes_are_those_of_the_dataset(made: Sample) -> None:
    for path, content in members_of(made.folder / IMAGES_ARCHIVE).items():
        assert len(content) == SIZES[side_of(parse_member(path, IMAGES_ROOT).layer)], path
    for path, content in members_of(made.folder / MAPS_ARCHIVE).items():
        assert 600 < len(content) < 3_500, path


def test_rasterio_reads_every_file_as_the_dataset_describes_it(layers: dict[str, dict[str, Read]]) -> None:
    for patch_id, files in layers.items():
        for layer, file in files.items():
            side, place = side_of(layer), (patch_id, layer)
            assert file.pixels.shape == (side, side), place
            assert file.pixels.dtype == np.uint16, place
            assert (file.profile["nodata"], file.profile["count"]) == (0, 1), place
            assert file.profile.get("compress") == ("deflate" if layer == MAP else None), place
            assert file.profile["blockysize"] == {120: 34}.get(side, side), place
            assert file.epsg == 32600 + int(patch_id.split("_T")[1][:2]), place
            metres = 1200 / side
            assert (file.transform.a, file.transform.e) == (metres, -metres), place


def test_places_follow_from_column_and_row(layers: dict[str, dict[str, Read]]) -> None:
    corners: dict[str, set[tuple[float, float]]] = defaultdict(set)
    for patch_id, files in layers.items():
        patch = parse_patch(patch_id)
        for file in files.values():
            x, y = file.transform.c - 1200 * patch.column, file.transform.f + 1200 * patch.row
            corners[patch.tile[-5:]].add((x, y))
    # The real patch 26_57 of 33UUP is at (331200, 5331600).
    assert corners["33UUP"] == {(331_200 - 26 * 1200, 5_331_600 + 57 * 1200)}
    assert [len(places) for places in corners.values()] == [1, 1, 1]


@pytest.mark.parametrize("tile", [patch.tile for patch in sample_patches(12, 12, 0)])
def test_tiles_lie_in_their_country(tile: str) -> None:
    file = read(patch_files(Patch(tile, 45, 45), 0)["B01"])
    place = [file.transform.c], [file.transform.f]
    (longitude,), (latitude,) = project(f"EPSG:{file.epsg}", "EPSG:4326", *place)
    west, south, east, north = COUNTRIES[sample._TILES[tile][0]]
    assert west < longitude < east
    assert south < latitude < north


@pytest.mark.parametrize(("layer", "pixel"), [("B04", 10), ("B8A", 20), ("B01", 60)])
def test_a_band_is_byte_for_byte_what_rasterio_writes(layer: str, pixel: int) -> None:
    patch = sample_patches(6, 3, 5)[-1]
    content = patch_files(patch, 5)[layer]
    file = read(content)
    again = geotiff(file.pixels, crs=f"EPSG:{file.epsg}", transform=file.transform, compress=False)
    assert content == again
    assert file.transform.a == pixel


def test_a_geotiff_may_hold_what_a_test_wants() -> None:
    pixels = np.array([[0.5, 777.0], [1.0, 2.0]], np.float32)
    place = Affine(10, 0, 300_000, 0, -10, 5_400_000)
    file = read(geotiff(pixels, crs="EPSG:32633", transform=place, compress=True))
    assert np.array_equal(file.pixels, pixels)
    assert (file.profile["dtype"], file.transform, file.epsg) == ("float32", place, 32633)


def test_metadata_list_each_patch_once_and_flag_those_of_the_second_file(made: Sample) -> None:
    clear = rows_of(made.folder, METADATA_FILE)
    covered = rows_of(made.folder, METADATA_SNOW_CLOUD_SHADOW_FILE)
    ids = [row["patch_id"] for row in clear + covered]
    assert sorted(ids) == [patch.patch_id for patch in sample_patches(36, 3, 0)]
    assert clear
    assert covered
    flags = ("contains_seasonal_snow", "contains_cloud_or_shadow")
    assert {tuple(row[flag] for flag in flags) for row in clear} == {(False, False)}
    assert {tuple(row[flag] for flag in flags) for row in covered} == {(True, False), (False, True)}


def test_labels_are_the_classes_of_the_map(made: Sample, layers: dict[str, dict[str, Read]]) -> None:
    for row in [row for name in METADATA_FILES for row in rows_of(made.folder, name)]:
        codes = layers[row["patch_id"]][MAP].pixels
        values = set(mask_values("ben19")[clc_positions()[codes]].ravel().tolist()) - {UNLABELLED}
        assert row["labels"] == sorted(BEN19[value][0] for value in values)
        assert row["labels"]


def test_metadata_fit_the_tile(made: Sample) -> None:
    countries = {"T33UUP": "Austria", "T29SND": "Portugal", "T35VLG": "Finland"}
    for row in [row for name in METADATA_FILES for row in rows_of(made.folder, name)]:
        patch = parse_patch(row["patch_id"])
        assert row["country"] == countries[patch.tile[-6:]]


def test_metadata_write_places_without_leading_zeros() -> None:
    patch = parse_patch("S2A_MSIL2A_20170613T101031_N9999_R022_T34VER_00_45")
    row = sample._metadata(patch, sample._land(patch, 0))
    # As the dataset names this patch; its radar twin is of another time.
    assert row["s2v1_name"] == "S2A_MSIL2A_20170613T101031_0_45"
    assert row["s1_name"].startswith("S1B_IW_GRDH_1SDV_20170613T")
    assert row["s1_name"].endswith("_34VER_0_45")


def test_splits_have_about_the_shares_of_the_dataset() -> None:
    whole = sample_patches(8_281, 1, 0)
    land = sample._land(whole[0], 0)
    shares = Counter(sample._metadata(patch, land)["split"] for patch in whole)
    real = {"train": 237_871 / 480_038, "validation": 122_342 / 480_038, "test": 119_825 / 480_038}
    assert {split: n / len(whole) for split, n in shares.items()} == pytest.approx(real, abs=0.02)


def test_maps_hold_codes_of_the_nomenclature_and_few_unlabelled(layers: dict[str, dict[str, Read]]) -> None:
    codes = np.array([files[MAP].pixels for files in layers.values()])
    assert set(codes.ravel().tolist()) <= {clc.code for clc in CLC}
    assert len(set(codes.ravel().tolist())) >= 12
    unlabelled = (mask_values("ben19")[clc_positions()[codes]] == UNLABELLED).mean((1, 2))
    assert 0 < unlabelled.max() <= 0.25


def test_regions_ask_only_for_what_the_landscape_can_draw() -> None:
    asked = {c for *_, region in sample._TILES.values() for c in region.farmland + region.woods + region.wild}
    assert asked <= set(landscape._COVERS)
    assert list(landscape._COVERS) == sorted(landscape._COVERS)


def test_image_and_map_show_the_same_land(made: Sample, layers: dict[str, dict[str, Read]]) -> None:
    clear = [layers[row["patch_id"]] for row in rows_of(made.folder, METADATA_FILE)]
    codes, red, near = (np.concatenate([f[layer].pixels for f in clear]) for layer in (MAP, "B04", "B08"))
    ndvi = (near.astype(float) - red) / (near.astype(float) + red)
    for forest in (311, 312, 313):
        assert np.median(ndvi[codes == forest]) > 0.7
        assert 100 < np.median(red[codes == forest]) < 300
    assert np.median(near[codes // 100 == 5]) < 200
    assert np.median(ndvi[codes // 100 == 5]) < 0.1
    assert np.median(red[codes == 111]) > 800


def test_bright_covers_are_flagged(made: Sample, layers: dict[str, dict[str, Read]]) -> None:
    def covered(name: str) -> list[float]:
        ids = [row["patch_id"] for row in rows_of(made.folder, name)]
        return [float((layers[patch_id]["B02"].pixels > 6000).mean()) for patch_id in ids]

    assert max(covered(METADATA_FILE)) == 0
    assert max(covered(METADATA_SNOW_CLOUD_SHADOW_FILE)) > 0.1


@pytest.mark.parametrize("region", [sample._ALPINE, sample._NORTH], ids=["clouds", "snow"])
def test_neighbours_continue_one_another(region: landscape.Region) -> None:
    def survey(column: int, row: int) -> list[npt.NDArray[Any]]:
        land = landscape.survey(region, key=5, season=6, column=column, row=row)
        return [land.materials, land.light, land.cover]

    for column in range(40, 44):
        here, east, south = survey(column, 30), survey(column + 1, 30), survey(column, 31)
        # A patch is 120 pixels of 128, so neighbours share 8; the slope of the very first is unknown.
        for ours, eastern, southern in zip(here, east, south, strict=True):
            assert np.array_equal(ours[1:, -7:], eastern[1:, 1:8])
            assert np.array_equal(ours[-7:, 1:], southern[1:8, 1:])


def test_maps_continue_one_another(layers: dict[str, dict[str, Read]]) -> None:
    places = {parse_patch(patch_id): files[MAP].pixels for patch_id, files in layers.items()}
    pairs = [(codes, places.get(Patch(p.tile, p.column + 1, p.row))) for p, codes in places.items()]
    agree = [np.mean(west[:, -1] == east[:, 0]) for west, east in pairs if east is not None]
    assert len(agree) > 15
    assert np.mean(agree) > 0.96


def test_the_same_arguments_give_the_same_bytes_in_any_process(made: Sample, tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    script = (
        "import sys, pathlib; from bigearthnet.sample.archives import make_sample; "
        "make_sample(pathlib.Path(sys.argv[1]), patches=36, tiles=3, seed=0)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "again")], env=environment, check=True)
    assert digests(tmp_path / "again") == digests(made.folder)


def test_another_seed_is_another_land_and_another_noise() -> None:
    patch = Patch("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", 26, 57)
    first, second = patch_files(patch, 1), patch_files(patch, 2)
    assert all(first[layer] != second[layer] for layer in (*BANDS, MAP))


def test_members_are_those_of_the_archive_in_the_order_of_the_patches(made: Sample) -> None:
    patches = sample_patches(36, 3, 0)[-2:]
    for root, archive in ((IMAGES_ROOT, IMAGES_ARCHIVE), (MAPS_ROOT, MAPS_ARCHIVE)):
        whole = members_of(made.folder / archive)
        wanted = list(sample_members(root, patches, 0))
        assert [name for name, _ in wanted] == [
            n for n in whole if parse_member(n, root).patch_id in {p.patch_id for p in patches}
        ]
        assert all(whole[name] == content for name, content in wanted)


@pytest.mark.parametrize("tiles", [1, 3, 12])
@pytest.mark.parametrize("patches", [12, 60, 8_281])
def test_patches_are_sorted_compact_blocks_that_grow(patches: int, tiles: int) -> None:
    found = sample_patches(patches, tiles, 3)
    assert found == sorted(set(found))
    assert len(found) == patches
    sizes = Counter(patch.tile for patch in found)
    assert list(sizes.values()) == sorted(sizes.values())
    assert len(sizes) == tiles
    for tile, size in sizes.items():
        columns = [patch.column for patch in found if patch.tile == tile]
        rows = [patch.row for patch in found if patch.tile == tile]
        width, height = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
        assert width * height < size + height
        assert abs(width - height) <= 1
        assert min(columns + rows) >= 0
        assert max(columns + rows) <= 90


def test_three_tiles_are_as_one_to_two_to_three() -> None:
    assert list(Counter(patch.tile for patch in sample_patches(6_000, 3, 0)).values()) == [1000, 2000, 3000]


@pytest.mark.parametrize(("patches", "tiles"), [(60, 0), (60, 13), (2, 3), (0, 1), (8_282, 1), (60, -1)])
def test_what_does_not_fit_is_refused(patches: int, tiles: int, tmp_path: Path) -> None:
    message = f"expected 1 to 12 tiles of 1 to 8281 patches, found {patches} patches for {tiles} tiles"
    with pytest.raises(ValueError, match=message):
        make_sample(tmp_path / "none", patches=patches, tiles=tiles)
    assert not (tmp_path / "none").exists()


def test_a_tile_it_does_not_know_is_refused() -> None:
    patch = Patch("S2A_MSIL2A_20170613T101031_N9999_R022_T01AAA", 0, 0)
    with pytest.raises(ValueError, match=r"expected a tile of the sample \(S2A_.*\), found .*T01AAA"):
        patch_files(patch, 0)


@needs_real
def test_a_geotiff_of_real_pixels_is_the_real_file() -> None:
    files = sorted(REAL.glob("*/*/*/*.tif"))
    assert files
    for path in files:
        real = read(path.read_bytes())
        compress = path.parts[-4] == MAPS_ROOT
        ours = geotiff(real.pixels, crs=f"EPSG:{real.epsg}", transform=real.transform, compress=compress)
        assert ours == path.read_bytes(), path.name


@needs_real
def test_the_sample_has_the_form_and_place_of_real_files() -> None:
    compared = 0
    for folder in (REAL / IMAGES_ROOT).glob("*/*"):
        ours = patch_files(parse_patch(folder.name), 0)
        for path in folder.glob("*.tif"):
            content, real = ours[path.stem[len(folder.name) + 1 :]], path.read_bytes()
            pixels = 2 * read(real).pixels.size
            assert content[:-pixels] == real[:-pixels], path.name
            compared += 1
    assert compared >= len(BANDS)


@needs_real
def test_metadata_have_the_columns_of_the_real_files_and_real_tiles(made: Sample) -> None:
    for name in METADATA_FILES:
        ours, theirs = (pq.ParquetFile(folder / name) for folder in (made.folder, REAL))
        assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)
        assert ours.metadata.metadata == theirs.metadata.metadata
        assert ours.metadata.row_group(0).column(0).compression == "ZSTD"
    real = pq.read_table(REAL / METADATA_FILE, columns=["patch_id", "country"]).to_pylist()
    countries = defaultdict(set)
    for row in real:
        countries[row["patch_id"][:-6]].add(row["country"])
    for tile, (country, *_) in sample._TILES.items():
        assert country in countries[tile], tile


def test_the_archive_compresses_as_the_real_one(made: Sample) -> None:
    content = (made.folder / IMAGES_ARCHIVE).read_bytes()
    size = len(zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read())
    assert len(content) / size == pytest.approx(63.25 / 102, abs=0.1)
