import hashlib
import io
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import zstandard
from rasterio.io import MemoryFile
from rasterio.warp import transform as project

from bigearthnet import names
from bigearthnet.classes import BEN19, CLC, UNCLASSIFIED
from bigearthnet.names import MAP, METADATA_FILES, Patch, parse_member, parse_patch
from bigearthnet.sample import archives, make_sample
from bigearthnet.sample.archives import TILES, sample_patches
from bigearthnet.sample.geotiff import geotiffs
from bigearthnet.sample.landscape import draw
from tests.support.archives import members as members_of
from tests.support.sample import patch_files

# Longitude and latitude, west, south, east, north, in whole degrees outwards.
COUNTRIES = {
    "Austria": (9, 46, 18, 50),
    "Finland": (19, 59, 32, 71),
    "Ireland": (-11, 51, -5, 56),
    "Portugal": (-10, 36, -6, 43),
}
ARCHIVES = ((names.IMAGES_ARCHIVE, names.IMAGES_ROOT), (names.MAPS_ARCHIVE, names.MAPS_ROOT))
REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real BigEarthNet files beside the repository")


class Read(NamedTuple):
    """What rasterio says of a GeoTIFF."""

    pixels: npt.NDArray[Any]
    profile: dict[str, Any]


def read(content: bytes) -> Read:
    with MemoryFile(content) as memory, memory.open() as file:
        return Read(file.read(1), dict(file.profile))


def side_of(layer: str) -> int:
    return {"B01": 20, "B09": 20, "B02": 120, "B03": 120, "B04": 120, "B08": 120, MAP: 120}.get(layer, 60)


def rows_of(folder: Path, *files: str) -> list[dict[str, Any]]:
    return [row for name in files for row in pq.read_table(folder / name).to_pylist()]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder)
    return folder


@pytest.fixture(scope="module")
def layers(made: Path) -> dict[str, dict[str, Read]]:
    """The files in the archives: patch id -> layer -> read."""
    found: dict[str, dict[str, Read]] = defaultdict(dict)
    for archive, root in ARCHIVES:
        for path, content in members_of(made / archive):
            member = parse_member(path, root)
            found[member.patch_id][member.layer] = read(content)
    return found


@pytest.mark.parametrize(("archive", "root"), ARCHIVES, ids=["images", "maps"])
def test_archives_are_as_published(made: Path, archive: str, root: Any) -> None:
    members = dict(members_of(made / archive))
    assert list(members) == sorted(members)
    patches = Counter(parse_member(name, root).patch_id for name in members)
    assert list(patches) == [patch.patch_id for patch in sample_patches((10, 20, 30))]
    assert set(patches.values()) == {len(names.LAYERS[root])}
    content = (made / archive).read_bytes()
    tar = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read()
    assert tar.count(b"././@LongLink\0") == len(members)
    frame = zstandard.get_frame_parameters(content)
    assert (frame.has_checksum, frame.window_size) == (True, 2 << 20)  # of level 6
    assert frame.content_size == zstandard.CONTENTSIZE_UNKNOWN
    decoder = zstandard.ZstdDecompressor().decompressobj()
    decoder.decompress(content)
    assert (decoder.eof, decoder.unused_data) == (True, b"")  # a single frame
    if archive == names.IMAGES_ARCHIVE:
        assert len(content) / len(tar) == pytest.approx(63.25 / 102, abs=0.1)


def test_files_are_as_published(layers: dict[str, dict[str, Read]]) -> None:
    corners: dict[str, set[tuple[float, float]]] = defaultdict(set)
    for patch_id, files in layers.items():
        patch = parse_patch(patch_id)
        for layer, file in files.items():
            side, where, profile = side_of(layer), (patch_id, layer), file.profile
            assert (file.pixels.shape, file.pixels.dtype) == ((side, side), np.uint16), where
            assert file.pixels.min() > 0, where  # 0 is nodata
            assert (profile["nodata"], profile["count"]) == (0, 1), where
            assert profile.get("compress") == ("deflate" if layer == MAP else None), where
            assert profile["blockysize"] == {120: 34}.get(side, side), where
            assert profile["crs"].to_epsg() == 32600 + int(patch_id.split("_T")[1][:2]), where
            a, _, x, _, e, y, *_ = profile["transform"]
            assert (a, e) == (1200 / side, -1200 / side), where
            corners[patch.tile[-5:]].add((x - 1200 * patch.column, y + 1200 * patch.row))
    # The real patch 26_57 of 33UUP is at (331200, 5331600).
    assert corners["33UUP"] == {(331_200 - 26 * 1200, 5_331_600 + 57 * 1200)}
    assert [len(found) for found in corners.values()] == [1, 1, 1]


@needs_real
@pytest.mark.parametrize("path", sorted(REAL.glob("*/*/*/*.tif")), ids=lambda path: path.stem[-25:])
def test_a_geotiff_of_real_pixels_is_the_real_file(path: Path) -> None:
    real, layer = read(path.read_bytes()), path.stem[len(path.parent.name) + 1 :]
    zone, transform = real.profile["crs"].to_epsg() - 32600, real.profile["transform"]
    ours = geotiffs({layer: real.pixels}, zone, (int(transform.c), int(transform.f)))
    assert ours == {layer: path.read_bytes()}


@pytest.mark.parametrize("tile", TILES)
def test_tiles_lie_in_their_country(tile: str) -> None:
    profile = read(patch_files(Patch(tile, 45, 45))["B01"]).profile
    corner = [profile["transform"].c], [profile["transform"].f]
    (longitude,), (latitude,) = project(profile["crs"], "EPSG:4326", *corner)
    west, south, east, north = COUNTRIES[TILES[tile][0]]
    assert west < longitude < east
    assert south < latitude < north


def test_metadata_fit_the_patches(made: Path, layers: dict[str, dict[str, Read]]) -> None:
    clear, covered = (rows_of(made, name) for name in METADATA_FILES)
    assert sorted(row["patch_id"] for row in clear + covered) == list(layers)
    assert len(covered) < len(clear)
    flags = [
        {(r["contains_seasonal_snow"], r["contains_cloud_or_shadow"]) for r in f} for f in (clear, covered)
    ]
    assert flags == [{(False, False)}, {(True, False), (False, True)}]
    countries = {"T33UUP": "Austria", "T29SND": "Portugal", "T35VLG": "Finland"}
    for row in clear + covered:
        assert row["country"] == countries[row["patch_id"][-12:-6]]
        codes = layers[row["patch_id"]][MAP].pixels
        found = set(codes.ravel().tolist())
        assert found <= {clc.value for clc in CLC}
        assert row["labels"] == sorted(name for name, of_class in BEN19 if found.intersection(of_class))
        place = row["patch_id"][-5:].replace("_0", "_").removeprefix("0")
        # As the dataset names its patches; the radar twins are of another time.
        assert row["s2v1_name"] == f"{row['patch_id'][:26]}_{place}"
        date, tile = row["patch_id"][11:19], row["patch_id"][-11:-6]
        assert row["s1_name"] == f"S1B_IW_GRDH_1SDV_{date}T165809_{tile}_{place}"
    shares = Counter(row["split"] for row in clear + covered)
    real = {"train": 237_871 / 480_038, "validation": 122_342 / 480_038, "test": 119_825 / 480_038}
    assert {split: n / 60 for split, n in shares.items()} == pytest.approx(real, abs=0.1)
    assert len({label for row in clear + covered for label in row["labels"]}) >= 12


def test_images_fit_maps_and_flags(made: Path, layers: dict[str, dict[str, Read]]) -> None:
    clear, covered = ([layers[r["patch_id"]] for r in rows_of(made, name)] for name in METADATA_FILES)
    unlabelled = [float((f[MAP].pixels == UNCLASSIFIED).mean()) for f in layers.values()]
    assert 0 < max(unlabelled) <= 0.25
    codes, red, near = (np.concatenate([f[layer].pixels for f in clear]) for layer in (MAP, "B04", "B08"))
    ndvi = (near.astype(float) - red) / (near.astype(float) + red)
    for forest in (311, 312, 313):
        assert np.median(ndvi[codes == forest]) > 0.7
        assert 100 < np.median(red[codes == forest]) < 300
    assert np.median(near[codes // 100 == 5]) < 200
    assert np.median(ndvi[codes // 100 == 5]) < 0.1
    assert np.median(red[codes == 112]) > 800
    bright = [max(float((f["B02"].pixels > 6000).mean()) for f in files) for files in (clear, covered)]
    assert bright[0] == 0
    assert bright[1] > 0.1


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("tile", TILES)
def test_neighbours_continue_one_another(tile: str, axis: int) -> None:
    lands = [draw(TILES[tile][3], *((40, 30 + n) if axis == 0 else (40 + n, 30))) for n in range(6)]
    for layers in ([land.codes for land in lands], [land.bands["B08"] for land in lands]):
        change = abs(np.diff(np.concatenate(layers, axis).astype(int), axis=axis)).mean(1 - axis)
        assert change[119::120].mean() < 3 * change.mean()


def test_several_processes_make_the_same_bytes_also_without_proj(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from bigearthnet.sample import make_sample; "
        "assert 'rasterio' not in sys.modules, 'a slow start'; "
        "make_sample(pathlib.Path(sys.argv[1]), (2, 3, 4))"
    )
    nowhere = dict.fromkeys(("PROJ_DATA", "PROJ_LIB", "GDAL_DATA"), "/nonexistent")
    environment = os.environ | nowhere | {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(tmp_path / "several")]
    processes = [subprocess.Popen(command, env=environment | {"PYTHONHASHSEED": seed}) for seed in "789"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    make_sample(tmp_path / "one", (2, 3, 4))
    assert digests(tmp_path / "several") == digests(tmp_path / "one")
    assert set(digests(tmp_path / "one")) == {archive for archive, _ in ARCHIVES} | set(METADATA_FILES)


def test_a_failure_leaves_the_earlier_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sample(tmp_path, [3])
    before = digests(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "_metadata", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_sample(tmp_path, [4])
    assert digests(tmp_path) == before


@pytest.mark.parametrize("sizes", [(1,), (10, 20, 30), (8_281, 2, 12, 100)])
def test_patches_are_sorted_squares_in_their_tiles(sizes: tuple[int, ...]) -> None:
    found = sample_patches(sizes)
    assert found == sorted(set(found))
    assert tuple(Counter(patch.tile for patch in found).values()) == sizes
    for tile, size in zip(TILES, sizes, strict=False):
        for places in zip(*((patch.column, patch.row) for patch in found if patch.tile == tile), strict=True):
            assert 0 <= min(places) <= max(places) <= 90
            assert (max(places) - min(places)) ** 2 < size


@needs_real
def test_metadata_have_the_columns_of_the_real_files_and_real_tiles(made: Path) -> None:
    for name in METADATA_FILES:
        ours, theirs = (pq.ParquetFile(folder / name) for folder in (made, REAL))
        assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)
        assert ours.metadata.metadata == theirs.metadata.metadata
        assert ours.metadata.row_group(0).column(0).compression == "ZSTD"
    countries = defaultdict(set)
    for row in rows_of(REAL, names.METADATA_FILE):
        countries[row["patch_id"][:-6]].add(row["country"])
    for tile, (country, *_) in TILES.items():
        assert country in countries[tile], tile
