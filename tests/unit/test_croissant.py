"""Croissant metadata, read by MLCommons' own library."""

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pyarrow.parquet as pq
import pytest
from etils import epath
from PIL import Image

from tests.support.published import IMAGES_ZIP, MANIFEST, MASKS_ZIP, member, patch_ids


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own is in the home folder, where zips of the same name are taken for the same."""
    monkeypatch.setattr(
        "mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", epath.Path(tmp_path)
    )


@pytest.fixture
def croissant(published_sample: Path) -> mlcroissant.Dataset:
    """Raises an error if it is not valid."""
    return mlcroissant.Dataset(jsonld=str(published_sample / "croissant.json"))


def test_it_is_valid_with_licence_and_citation(
    published_sample: Path, croissant: mlcroissant.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        mlcroissant.Dataset(jsonld=str(published_sample / "croissant.json"))
    assert "@context" not in caplog.text  # it is the standard one
    issues = croissant.metadata.ctx.issues
    assert not issues.errors
    # Neither is known of a dataset that is the same whenever and wherever it is made.
    assert {
        next(name for name in ("datePublished", "version") if name in one) for one in issues.warnings
    } == {
        "datePublished",
        "version",
    }
    assert croissant.metadata.license == ["https://cdla.dev/permissive-1-0/"]
    assert "reBEN" in croissant.metadata.cite_as


def test_files_have_their_size_and_digest(published_sample: Path) -> None:
    listed = json.loads((published_sample / "croissant.json").read_bytes())["distribution"]
    files = {one["contentUrl"]: one for one in listed if one["@type"] == "cr:FileObject"}
    assert files.keys() == {IMAGES_ZIP, MASKS_ZIP, MANIFEST}
    for name, file in files.items():
        data = (published_sample / name).read_bytes()
        assert (file["contentSize"], file["sha256"]) == (f"{len(data)} B", hashlib.sha256(data).hexdigest())


def plain(value: Any) -> Any:
    """A value of a record without the names of its record set."""
    if isinstance(value, dict):
        return {name.rpartition("/")[2]: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode()
    return value.date() if hasattr(value, "date") else value


def test_records_are_the_rows_of_the_manifest(published_sample: Path, croissant: mlcroissant.Dataset) -> None:
    rows = pq.read_table(published_sample / MANIFEST).to_pylist()
    assert [plain(record) for record in croissant.records("patches")] == rows


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_records_of_pngs_come_from_the_zips(
    published_sample: Path, croissant: mlcroissant.Dataset, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    records = [plain(record) for record in croissant.records(kind)]
    assert "Could not match" not in caplog.text  # once a patch otherwise
    assert sorted(record["patch_id"] for record in records) == patch_ids(published_sample, kind)
    for record in records:
        with Image.open(io.BytesIO(member(published_sample, kind, record["patch_id"]))) as expected:
            np.testing.assert_array_equal(np.asarray(record["png"]), np.asarray(expected))
