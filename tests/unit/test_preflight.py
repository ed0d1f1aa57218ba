"""Checks before a run: what is wrong is said, and what a good place looks like."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import zstandard
from rasterio.io import MemoryFile

import bigearthnet.tile.selftest
from bigearthnet import preflight
from bigearthnet.classes import BEN19, CLC, UNLABELLED
from bigearthnet.errors import ArchiveError, InstallationError, SpaceError
from bigearthnet.names import IMAGES_ARCHIVE, MAP
from bigearthnet.sample.geotiff import geotiffs
from bigearthnet.source.stored import StoredSource
from bigearthnet.store import FolderStore
from bigearthnet.tile.selftest import DIGESTS, KNOWN, check_installation
from bigearthnet.work import space
from bigearthnet.work.workspace import Workspace
from tests.support.archives import linked, replace
from tests.support.sample import Sample

CODES = np.resize(np.array([one.value for one in CLC], np.uint16), (120, 120))


def source_of(folder: Path) -> StoredSource:
    return StoredSource(FolderStore(folder))


def test_the_known_geotiff_is_the_samples() -> None:
    with MemoryFile(KNOWN.read_bytes()) as file, file.open() as known:
        assert (known.read(1) == CODES).all()
        assert (known.crs.to_epsg(), known.bounds.left, known.bounds.top) == (32633, 300_000, 5_400_000)
        made = geotiffs({MAP: CODES}, 33, (300_000, 5_400_000))[MAP]
        with MemoryFile(made) as other, other.open() as again:
            assert (again.profile, again.crs) == (known.profile, known.crs)


def test_the_known_pixels_are_those_of_the_formulas() -> None:
    values = {code: value for value, (_, codes) in enumerate(BEN19) for code in codes}
    mask = [[values.get(int(code), UNLABELLED) for code in row] for row in CODES]
    rgb = [np.rint(np.clip(CODES * factor / 3000, 0, 1) * 255) for factor in (4.0, 2.0, 1.0)]
    arrays = (CODES.astype("<u2"), np.stack(rgb, axis=-1).astype(np.uint8), np.array(mask, np.uint8))
    assert [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays] == list(DIGESTS.values())
    check_installation()


@pytest.mark.parametrize(
    ("function", "wrong", "said"),
    [
        ("decode", lambda *_: CODES[::-1].copy(), "a GeoTIFF has wrong pixels"),
        (
            "render_image",
            lambda bands, _: (encoded(cv2.merge([band.astype(np.uint8) for band in bands])), {}),
            "an RGB PNG has",
        ),
        ("render_mask", lambda codes, *_: (encoded(codes.astype(np.uint8)), {}), "a mask PNG has"),
        ("render_mask", lambda *_: (b"no PNG", {}), "a mask PNG has"),
        ("georeference", lambda *_: None, "GeoTIFF is placed at None"),
    ],
)
def test_wrong_pixels_are_found(
    monkeypatch: pytest.MonkeyPatch, function: str, wrong: object, said: str
) -> None:
    monkeypatch.setattr(bigearthnet.tile.selftest, function, wrong)
    with pytest.raises(InstallationError, match=rf"installation is damaged: .*{said}.*make setup"):
        check_installation()


def encoded(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_a_readable_source_is_described(sample: Sample, tmp_path: Path) -> None:
    source, work = source_of(sample.folder), Workspace(tmp_path)
    line = preflight.try_source(source.record(), source, work)
    assert line.startswith(f"{sample.folder}: 4 files, ")
    assert "md5s to be computed" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>no archive</html>", "not zstd"),
        (zstandard.compress(b"no tar" * 200), IMAGES_ARCHIVE),
    ],
)
def test_an_archive_is_read_before_it_is_downloaded(
    sample: Sample, tmp_path: Path, content: bytes, said: str
) -> None:
    folder = linked(sample.folder, tmp_path / "record")
    replace(folder / IMAGES_ARCHIVE, content)
    with pytest.raises(ArchiveError, match=said):
        preflight.try_source(source_of(folder).record(), source_of(folder), Workspace(tmp_path / "work"))


def test_a_disk_without_inodes_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.statvfs(tmp_path)
    for total, free, is_enough in ((10_000, 1_000, True), (10_000, 999, False), (0, 0, True)):
        found = os.statvfs_result((*there[:5], total, free, free, *there[8:]))
        monkeypatch.setattr(os, "statvfs", lambda _, found=found: found)
        if is_enough:
            space.require_inodes(tmp_path / "not" / "there")
        else:
            with pytest.raises(SpaceError, match=r"1,000 are needed, 999 are free"):
                preflight.try_store(FolderStore(tmp_path / "store"), joins=True)
