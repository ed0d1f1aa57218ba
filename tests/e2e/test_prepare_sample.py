"""What is published, against the record's own files read by tarfile, zstandard, rasterio and pyarrow."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.prepare import prepare
from tests.support.archives import IMAGES, MAPS, codes, members, pixels, rgb_reflectances
from tests.support.published import (
    CARD,
    FILES,
    ZIPS,
    Published,
    member,
    patch_ids,
    read_card,
    require_whole,
    unzip_tests,
)
from tests.support.runs import Home
from tests.support.sample import Sample
from tests.unit.test_docs import README, blocks

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]

Pixels = npt.NDArray[Any]


@pytest.fixture(scope="module")
def source(sample: Sample) -> dict[str, bytes]:
    """All files of both archives."""
    return dict(members(sample.folder / IMAGES)) | dict(members(sample.folder / MAPS))


@pytest.fixture(scope="module")
def listed(sample: Sample) -> dict[str, dict[str, Any]]:
    """All rows of the metadata by patch."""
    tables = [pq.read_table(path) for path in sorted(sample.folder.glob("*.parquet"))]
    return {row["patch_id"]: row for table in tables for row in table.to_pylist()}


def scaled(values: Pixels, low: float, high: float) -> Pixels:
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)


def test_every_patch_is_in_both_zips_with_the_right_pixels(
    prepared_codes: Path, source: dict[str, bytes], listed: dict[str, Any]
) -> None:
    assert set(Published.read(prepared_codes).sha256) == FILES
    assert all(unzip_tests(prepared_codes / name) for name, _ in ZIPS.values())
    assert patch_ids(prepared_codes, "images") == patch_ids(prepared_codes, "masks") == sorted(listed)
    for patch_id in listed:
        image = pixels(member(prepared_codes, "images", patch_id))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, scaled(rgb_reflectances(source, patch_id), 0, 3000))
        mask = pixels(member(prepared_codes, "masks", patch_id))
        assert mask.dtype == np.uint16
        np.testing.assert_array_equal(mask, codes(source, patch_id))


def test_all_files_are_those_that_the_parts_make_without_prefect(
    prepared_codes: Path, published_codes: Path
) -> None:
    """Unit tests compare such manifests and cards with the record's own files."""
    card, expected = require_whole(prepared_codes), require_whole(published_codes)
    differing = {key for key in card | expected if card.get(key) != expected.get(key)}
    assert differing == {"title", "source", "files"}
    titled = {a["name"] for a, b in zip(card["files"], expected["files"], strict=True) if a != b}
    assert titled == {"README.md", "croissant.json", "preview.html"}
    for name in ("size", "md5"):
        assert [file[name] for file in card["source"]["files"]] == [
            file[name] for file in expected["source"]["files"]
        ]


def test_a_run_is_told_in_the_log_and_in_a_report(
    sample: Sample, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        home.prepare(sample.folder, selection={"tiles": list(sample.tiles[:2])})
    for tile in sample.tiles[:2]:
        assert f"{tile}: " in caplog.text
    assert "1 of 2 tiles done, " in caplog.text
    assert "2 of 2 tiles done, 100 % of the patches" in caplog.text
    assert f"and {CARD}" in caplog.text
    only = ArtifactFilter(key=ArtifactFilterKey(any_=["report"]))
    with get_client(sync_client=True) as client:
        found = [str(artifact.data) for artifact in client.read_artifacts(artifact_filter=only)]
    (report,) = [text for text in found if str(home.destination) in text]
    assert "](data:image/png;base64," in report
    digits = report.replace(" ", "")  # a digest has spaces, so that it can wrap
    assert all(file["sha256"] in digits for file in read_card(home.destination)["files"])


def test_the_embedded_sample_is_made_whole_after_a_crash(home: Home) -> None:
    (home.work / "sample").mkdir(parents=True)
    (home.work / "sample" / IMAGES).write_bytes(b"begun")
    for folder in (home.work, home.work / "sample"):
        (folder / ".bigearthnet").touch()
    assert home.prepare("sample", selection={"max_patches": 2})["patches"] == 2
    assert require_whole(home.destination)["title"].startswith("Drawn sample")


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the embedded sample as `make run` prepares it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ | {"PREFECT_HOME": str(tmp_path / "prefect")})
    (tmp_path / "examples").symlink_to(README.parent / "examples")
    formats = {"formats": ["webdataset", "parquet"]}
    prepare(source="sample", destination="sample-dataset", work_dir="sample-work", packaging=formats)
    codes = blocks(README, "python")
    assert len(codes) == 4
    for code in codes:
        exec(compile(code, str(README), "exec"), {"__name__": "readme"})  # noqa: S102
    shown = capsys.readouterr().out
    assert "(120, 120, 3) (120, 120)" in shown
    assert ".png " in shown
