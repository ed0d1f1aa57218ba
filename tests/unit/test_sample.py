import hashlib
import io
import multiprocessing
import os
import subprocess
import sys
from collections import Counter, defaultdict
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
    IMAGES_ARCHIVE,
    IMAGES_ROOT,
    LAYERS,
    MAP,
    MAPS_ARCHIVE,
    MAPS_ROOT,
    METADATA_FILE,
    METADATA_FILES,
    Patch,
    parse_member,
    parse_patch,
)
from bigearthnet.sample import (
    Sample,
    archives,
    landscape,
    make_sample,
    patch_files,
    sample_patches,
)
from bigearthnet.sample.geotiff import geotiff
from tests.support.archives import members as members_of

# Longitude and latitude, west, south, east, north, in whole degrees outwards.
COUNTRIES = {
    "Austria": (9, 46, 18, 50),
    "Finland": (19, 59, 32, 71),
    "Ireland": (-11, 51, -5, 56),
    "Portugal": (-10, 36, -6, 43),
}
ARCHIVES = ((IMAGES_ARCHIVE, IMAGES_ROOT), (MAPS_ARCHIVE, MAPS_ROOT))
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


def rows_of(folder: Path, *names: str) -> list[dict[str, Any]]:
    return [row for name in names for row in pq.read_table(folder / name).to_pylist()]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return make_sample(tmp_path_factory.mktemp("sample"), patches=36, tiles=3)


@pytest.fixture(scope="module")
def layers(made: Sample) -> dict[str, dict[str, Read]]:
    """The files in the archives: patch id -> layer -> read."""
    found: dict[str, dict[str, Read]] = defaultdict(dict)
    for archive, root in ARCHIVES:
        for path, content in members_of(made.folder / archive):
            member = parse_member(path, root)
            found[member.patch_id][member.layer] = read(content)
    return found


def test_the_folder_holds_the_four_files_of_a_record(made: Sample) -> None:
    assert {path.name for path in made.folder.iterdir()} == {IMAGES_ARCHIVE, MAPS_ARCHIVE, *METADATA_FILES}
    assert made.patches == 36
    assert list(made.tiles) == sorted(made.tiles)


@pytest.mark.parametrize(("archive", "root"), ARCHIVES, ids=["images", "maps"])
def test_archives_are_as_published(made: Sample, archive: str, root: Any) -> None:
    members = dict(members_of(made.folder / archive))
    assert list(members) == sorted(members)
    patches = Counter(parse_member(name, root).patch_id for name in members)
    assert list(patches) == [patch.patch_id for patch in sample_patches(36, 3)]
    assert set(patches.values()) == {len(LAYERS[root])}
    content = (made.folder / archive).read_bytes()
    tar = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read()
    assert tar.count(b"././@LongLink\0") == len(members)
    frame = zstandard.get_frame_parameters(content)
    assert (frame.has_checksum, frame.window_size) == (True, 2 << 20)  # of level 6
    assert frame.content_size == zstandard.CONTENTSIZE_UNKNOWN
    decoder = zstandard.ZstdDecompressor().decompressobj()
    decoder.decompress(content)
    assert (decoder.eof, decoder.unused_data) == (True, b"")  # a single frame
    if archive == IMAGES_ARCHIVE:
        assert len(content) / len(tar) == pytest.approx(63.25 / 102, abs=0.1)


def test_files_are_as_published(layers: dict[str, dict[str, Read]]) -> None:
    corners: dict[str, set[tuple[float, float]]] = defaultdict(set)
    for patch_id, files in layers.items():
        patch = parse_patch(patch_id)
        for layer, file in files.items():
            side, where = side_of(layer), (patch_id, layer)
            metres = 1200 / side
            assert (file.pixels.shape, file.pixels.dtype) == ((side, side), np.uint16), where
            assert (file.profile["nodata"], file.profile["count"]) == (0, 1), where
            assert file.profile.get("compress") == ("deflate" if layer == MAP else None), where
            assert file.epsg == 32600 + int(patch_id.split("_T")[1][:2]), where
            assert (file.transform.a, file.transform.e) == (metres, -metres), where
            x, y = file.transform.c - 1200 * patch.column, file.transform.f + 1200 * patch.row
            corners[patch.tile[-5:]].add((x, y))
    # The real patch 26_57 of 33UUP is at (331200, 5331600).
    assert corners["33UUP"] == {(331_200 - 26 * 1200, 5_331_600 + 57 * 1200)}
    assert [len(found) for found in corners.values()] == [1, 1, 1]


@pytest.mark.parametrize("tile", [patch.tile for patch in sample_patches(4, 4)])
def test_tiles_lie_in_their_country(tile: str) -> None:
    file = read(patch_files(Patch(tile, 45, 45))["B01"])
    corner = [file.transform.c], [file.transform.f]
    (longitude,), (latitude,) = project(f"EPSG:{file.epsg}", "EPSG:4326", *corner)
    west, south, east, north = COUNTRIES[archives._TILES[tile][0]]
    assert west < longitude < east
    assert south < latitude < north


def test_metadata_fit_the_patches(made: Sample, layers: dict[str, dict[str, Read]]) -> None:
    clear, covered = (rows_of(made.folder, name) for name in METADATA_FILES)
    assert sorted(row["patch_id"] for row in clear + covered) == list(layers)
    flags = [
        {(r["contains_seasonal_snow"], r["contains_cloud_or_shadow"]) for r in f} for f in (clear, covered)
    ]
    assert flags == [{(False, False)}, {(True, False), (False, True)}]
    countries = {"T33UUP": "Austria", "T29SND": "Portugal", "T35VLG": "Finland"}
    for row in clear + covered:
        assert row["country"] == countries[row["patch_id"][-12:-6]]
        codes = layers[row["patch_id"]][MAP].pixels
        values = set(mask_values("ben19")[clc_positions()[codes]].ravel().tolist()) - {UNLABELLED}
        assert row["labels"] == sorted(BEN19[value][0] for value in values)
        assert row["labels"]


def test_metadata_of_a_patch() -> None:
    land = archives._land(sample_patches(1, 1)[0])
    # As the dataset names this patch; its radar twin is of another time.
    row = archives._metadata(Patch("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", 0, 45), land)
    assert row["s2v1_name"] == "S2A_MSIL2A_20170613T101031_0_45"
    assert row["s1_name"] == "S1B_IW_GRDH_1SDV_20170613T165809_33UUP_0_45"
    whole = sample_patches(8_281, 1)
    shares = Counter(archives._metadata(patch, land)["split"] for patch in whole)
    real = {"train": 237_871 / 480_038, "validation": 122_342 / 480_038, "test": 119_825 / 480_038}
    assert {split: n / len(whole) for split, n in shares.items()} == pytest.approx(real, abs=0.02)


def test_maps_hold_codes_of_clc_and_few_unlabelled_pixels(layers: dict[str, dict[str, Read]]) -> None:
    codes = np.array([files[MAP].pixels for files in layers.values()])
    assert set(codes.ravel().tolist()) <= {clc.value for clc in CLC}
    assert len(set(codes.ravel().tolist())) >= 12
    unlabelled = (mask_values("ben19")[clc_positions()[codes]] == UNLABELLED).mean((1, 2))
    assert 0 < unlabelled.max() <= 0.25


def test_regions_use_only_codes_that_can_be_drawn() -> None:
    used = {
        c for *_, region in archives._TILES.values() for c in region.farmland + region.woods + region.wild
    }
    assert used <= set(landscape._COVERS)
    assert list(landscape._COVERS) == sorted(landscape._COVERS)


def test_images_fit_maps_and_flags(made: Sample, layers: dict[str, dict[str, Read]]) -> None:
    clear, covered = ([layers[r["patch_id"]] for r in rows_of(made.folder, name)] for name in METADATA_FILES)
    codes, red, near = (np.concatenate([f[layer].pixels for f in clear]) for layer in (MAP, "B04", "B08"))
    ndvi = (near.astype(float) - red) / (near.astype(float) + red)
    for forest in (311, 312, 313):
        assert np.median(ndvi[codes == forest]) > 0.7
        assert 100 < np.median(red[codes == forest]) < 300
    assert np.median(near[codes // 100 == 5]) < 200
    assert np.median(ndvi[codes // 100 == 5]) < 0.1
    assert np.median(red[codes == 111]) > 800
    bright = [max(float((f["B02"].pixels > 6000).mean()) for f in files) for files in (clear, covered)]
    assert bright[0] == 0
    assert bright[1] > 0.1


@pytest.mark.parametrize("region", [archives._ALPINE, archives._NORTH], ids=["clouds", "snow"])
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


def test_the_same_arguments_give_the_same_bytes_in_any_process(made: Sample, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from bigearthnet.sample import make_sample; "
        "make_sample(pathlib.Path(sys.argv[1]), patches=36, tiles=3); "
        "sys.exit('rasterio' in sys.modules)"  # so that no PROJ is needed, and the start is quick
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "again")], env=environment, check=True)
    assert digests(tmp_path / "again") == digests(made.folder)


def test_several_processes_make_the_same_sample(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=make_sample, args=(tmp_path / "both",), kwargs={"patches": 9, "tiles": 2})
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    make_sample(tmp_path / "one", patches=9, tiles=2)
    assert digests(tmp_path / "both") == digests(tmp_path / "one")


def test_a_failure_leaves_the_earlier_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sample(tmp_path, patches=3, tiles=1)
    before = digests(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "_metadata", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_sample(tmp_path, patches=4, tiles=1)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("tiles", [1, 3, 4])
@pytest.mark.parametrize("patches", [12, 60, 8_281])
def test_patches_are_sorted_compact_blocks_that_grow(patches: int, tiles: int) -> None:
    found = sample_patches(patches, tiles)
    assert found == sorted(set(found))
    sizes = Counter(patch.tile for patch in found)
    assert list(sizes.values()) == sorted(sizes.values())
    assert (len(found), len(sizes)) == (patches, tiles)
    for tile, size in sizes.items():
        columns = [patch.column for patch in found if patch.tile == tile]
        rows = [patch.row for patch in found if patch.tile == tile]
        width, height = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
        assert width * height < size + height
        assert abs(width - height) <= 1
        assert min(columns + rows) >= 0
        assert max(columns + rows) <= 90


def test_three_tiles_are_as_one_to_two_to_three() -> None:
    assert list(Counter(patch.tile for patch in sample_patches(6_000, 3)).values()) == [1000, 2000, 3000]


@pytest.mark.parametrize(("patches", "tiles"), [(60, 0), (60, 5), (2, 3), (0, 1), (8_282, 1), (60, -1)])
def test_what_does_not_fit_is_refused(patches: int, tiles: int, tmp_path: Path) -> None:
    message = (
        rf"^{patches} patches do not fit in {tiles} tiles; a sample has 1 to 4 tiles of 1 to 8281 patches$"
    )
    with pytest.raises(ValueError, match=message):
        make_sample(tmp_path / "none", patches=patches, tiles=tiles)
    assert not (tmp_path / "none").exists()


@needs_real
@pytest.mark.parametrize("path", sorted(REAL.glob("*/*/*/*.tif")), ids=lambda path: path.stem[-25:])
def test_a_geotiff_of_real_pixels_reads_as_the_real_file(path: Path) -> None:
    real, is_map = read(path.read_bytes()), path.parts[-4] == MAPS_ROOT
    metres, corner = int(real.transform.a), (int(real.transform.c), int(real.transform.f))
    ours = geotiff(real.pixels, real.epsg - 32600, corner, metres=metres, compress=is_map)
    found = read(ours)
    assert found.profile == real.profile | {"blockysize": len(real.pixels)}
    assert found.pixels.tolist() == real.pixels.tolist()


@needs_real
def test_metadata_have_the_columns_of_the_real_files_and_real_tiles(made: Sample) -> None:
    for name in METADATA_FILES:
        ours, theirs = (pq.ParquetFile(folder / name) for folder in (made.folder, REAL))
        assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)
        assert ours.metadata.metadata == theirs.metadata.metadata
        assert ours.metadata.row_group(0).column(0).compression == "ZSTD"
    countries = defaultdict(set)
    for row in rows_of(REAL, METADATA_FILE):
        countries[row["patch_id"][:-6]].add(row["country"])
    for tile, (country, *_) in archives._TILES.items():
        assert country in countries[tile], tile
