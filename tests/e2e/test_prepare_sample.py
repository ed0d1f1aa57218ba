"""What is published, against the record's own files read by tarfile, zstandard, rasterio and pyarrow."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from rasterio.io import MemoryFile

from bigearthnet.sample.archives import Sample
from tests.support.archives import (
    IMAGES,
    MAPS,
    codes,
    linked,
    members,
    pixels,
    rgb_reflectances,
)
from tests.support.published import (
    ZIPS,
    Published,
    member,
    patch_ids,
    read_card,
    require_whole,
    unzip_tests,
)
from tests.support.runs import Place, start

pytestmark = pytest.mark.e2e

Pixels = npt.NDArray[Any]


CODES = {"mask_classes": "clc"}


@pytest.fixture(scope="module")
def source(sample: Sample) -> dict[str, bytes]:
    """All files of both archives."""
    return dict(members(sample.folder / IMAGES)) | dict(members(sample.folder / MAPS))


@pytest.fixture(scope="module")
def listed(sample: Sample) -> dict[str, dict[str, Any]]:
    """All rows of the metadata by patch."""
    tables = [pq.read_table(path) for path in sorted(sample.folder.glob("*.parquet"))]
    return {row["patch_id"]: row for table in tables for row in table.to_pylist()}


@pytest.fixture(scope="module")
def everything(prefect_server: None, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole sample, published with masks of CLC codes and the other parameters' defaults."""
    place = Place.below(tmp_path_factory.mktemp("everything"))
    done = start(sample.folder, place, rendering=CODES)
    assert done["destination"] == str(place.destination)
    assert (done["patches"], done["rejected"]) == (sample.patches, 0)
    return place.destination


def scaled(values: Pixels, low: float, high: float) -> Pixels:
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)


def test_every_patch_is_in_both_zips_with_the_right_pixels(
    everything: Path, source: dict[str, bytes], listed: dict[str, Any]
) -> None:
    assert patch_ids(everything, "images") == patch_ids(everything, "masks") == sorted(listed)
    for patch_id in listed:
        image = pixels(member(everything, "images", patch_id))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, scaled(rgb_reflectances(source, patch_id), 0, 3000))
        mask = pixels(member(everything, "masks", patch_id))
        assert mask.dtype == np.uint16
        np.testing.assert_array_equal(mask[0], codes(source, patch_id))


def test_the_zips_are_sound_and_hold_the_shards_members(everything: Path, sample: Sample) -> None:
    for kind, (name, _) in ZIPS.items():
        assert unzip_tests(everything / name)
        shards = sorted((everything / "tiles" / kind).glob("*.zip"))
        assert [shard.stem for shard in shards] == sorted(sample.tiles)
        of_shards: dict[str, Any] = {}
        for shard in shards:
            assert unzip_tests(shard)
            with ZipFile(shard) as file:
                of_shards |= {info.filename: (info.CRC, info.date_time) for info in file.infolist()}
        with ZipFile(everything / name) as file:
            assert {info.filename: (info.CRC, info.date_time) for info in file.infolist()} == of_shards
        assert len({date for _, date in of_shards.values()}) == 1


def test_the_manifest_has_a_row_a_patch_with_what_the_record_says(
    everything: Path, source: dict[str, bytes], listed: dict[str, Any]
) -> None:
    rows = pq.read_table(everything / "manifest.parquet").to_pylist()
    assert [row["patch_id"] for row in rows] == sorted(listed)
    infos: dict[str, Any] = {}
    for name, _ in ZIPS.values():
        with ZipFile(everything / name) as file:
            infos |= {info.filename: info for info in file.infolist()}
    for row in rows:
        patch_id, said = row["patch_id"], listed[row["patch_id"]]
        assert (row["tile"], f"{row['column']:02d}_{row['row']:02d}") == (patch_id[:-6], patch_id[-5:])
        for key in ("split", "country", "contains_seasonal_snow", "contains_cloud_or_shadow"):
            assert row[key] == said[key]
        assert sorted(row["labels"]) == sorted(said["labels"])
        image, mask = infos[f"{patch_id}.png"], infos[f"{patch_id}_mask.png"]
        assert (row["image_size"], row["image_crc32"]) == (image.file_size, image.CRC)
        assert (row["mask_size"], row["mask_crc32"]) == (mask.file_size, mask.CRC)
        tiff = source[f"BigEarthNet-S2/{patch_id[:-6]}/{patch_id}/{patch_id}_B02.tif"]
        with MemoryFile(tiff) as memory, memory.open() as dataset:
            assert row["crs"] == dataset.crs.to_epsg()
            assert (row["x_min"], row["y_min"], row["x_max"], row["y_max"]) == tuple(dataset.bounds)
        values, counts = np.unique(codes(source, patch_id), return_counts=True)
        assert dict(row["class_pixels"]) == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_the_card_tells_files_counts_classes_and_statistics(
    everything: Path, source: dict[str, bytes], listed: dict[str, Any], sample: Sample
) -> None:
    card = require_whole(everything)
    published = set(Published.read(everything).sha256)
    assert {file["name"] for file in card["files"]} == published - {"dataset.json"}
    splits = [row["split"] for row in listed.values()]
    assert card["counts"] == {
        "tiles": len(sample.tiles),
        "asked_for": len(listed),
        "patches": len(listed),
        "rejected": 0,
        "splits": {split: splits.count(split) for split in set(splits)},
    }
    for which, chosen in (
        ("all", list(listed)),
        ("train", [patch_id for patch_id, row in listed.items() if row["split"] == "train"]),
    ):
        images = np.stack([scaled(rgb_reflectances(source, patch_id), 0, 3000) for patch_id in chosen])
        np.testing.assert_allclose(card["images"][which]["mean"], images.mean(axis=(0, 2, 3)))
        np.testing.assert_allclose(card["images"][which]["std"], images.std(axis=(0, 2, 3)))
    values, counts = np.unique(np.stack([codes(source, patch_id) for patch_id in listed]), return_counts=True)
    occurring = {entry["value"]: entry["pixels"] for entry in card["mask_classes"] if entry["pixels"]}
    assert occurring == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_the_same_bytes_come_out_elsewhere(everything: Path, sample: Sample, tmp_path: Path) -> None:
    place = Place(tmp_path / "other" / "work", tmp_path / "there")
    start(linked(sample.folder, tmp_path / "copy"), place, rendering=CODES)
    assert Published.read(place.destination) == Published.read(everything)


def test_percentiles_and_level_one_classes(sample: Sample, source: dict[str, bytes], place: Place) -> None:
    rendering = {"stretch": "percentile", "percentiles": (5, 90), "mask_classes": "clc_l1"}
    start(sample.folder, place, rendering=rendering, selection={"max_patches": 3})
    ids = patch_ids(place.destination, "images")
    assert len(ids) == 3
    for patch_id in ids:
        values = rgb_reflectances(source, patch_id)
        low, high = np.percentile(values, [5, 90])
        np.testing.assert_array_equal(
            pixels(member(place.destination, "images", patch_id)), scaled(values, low, high)
        )
        wanted = codes(source, patch_id)
        mask = pixels(member(place.destination, "masks", patch_id))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask[0], np.where(wanted == 999, 6, wanted // 100))


def test_a_selection_by_what_only_the_metadata_knows(
    sample: Sample, listed: dict[str, Any], place: Place
) -> None:
    start(sample.folder, place, selection={"splits": ["train", "test"], "snow_cloud_shadow": "exclude"})
    clear = [
        patch_id
        for patch_id, row in listed.items()
        if row["split"] in ("train", "test")
        and not (row["contains_seasonal_snow"] or row["contains_cloud_or_shadow"])
    ]
    assert 0 < len(clear) < len(listed)
    assert patch_ids(place.destination, "images") == sorted(clear)


def test_without_metadata_tiles_and_numbers_still_select(
    sample: Sample, listed: dict[str, Any], place: Place, tmp_path: Path
) -> None:
    folder = linked(sample.folder, tmp_path / "record")
    for path in folder.glob("*.parquet"):
        path.unlink()
    tile = sample.tiles[-1]
    start(folder, place, selection={"tiles": [f"*{tile[-7:]}"], "max_patches": 2})
    ids = patch_ids(place.destination, "images")
    assert ids == sorted(patch_id for patch_id in listed if patch_id.startswith(tile))[:2]
    rows = pq.read_table(place.destination / "manifest.parquet").to_pylist()
    facts = ("split", "labels", "country", "contains_seasonal_snow", "contains_cloud_or_shadow")
    assert [row["patch_id"] for row in rows] == ids
    assert {row[fact] for row in rows for fact in facts} == {None}
    card = read_card(place.destination)
    assert card["counts"]["splits"] == {}
    assert card["images"]["train"] is None


def test_shards_of_the_dataset_before_do_not_stay(sample: Sample, place: Place) -> None:
    start(sample.folder, place)
    (place.destination / "notes.txt").write_text("not ours")
    start(sample.folder, place, selection={"tiles": [sample.tiles[1]]})
    shards = sorted(path.name for path in place.destination.glob("tiles/*/*"))
    assert shards == [f"{sample.tiles[1]}.zip"] * 2
    assert (place.destination / "notes.txt").read_text() == "not ours"
    require_whole(place.destination)


def test_the_embedded_sample_is_made_whole_after_a_crash(place: Place) -> None:
    (place.work / "sample").mkdir(parents=True)
    (place.work / "sample" / IMAGES).write_bytes(b"begun")
    done = start("sample", place, selection={"max_patches": 2})
    assert done["patches"] == 2
    require_whole(place.destination)
