"""The map of a dataset, read by GeoPandas and DuckDB, and compared with the corners that GDAL reads."""

import io
from dataclasses import replace
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from rasterio.warp import transform

from bigearthnet.dataset.footprints import footprints_parquet
from tests.support import archives
from tests.support.drafts import draft_of
from tests.support.sample import Sample

FOOTPRINTS, MANIFEST = "footprints.parquet", "manifest.parquet"


@pytest.fixture(scope="module")
def places(published_sample: Path) -> geopandas.GeoDataFrame:
    return geopandas.read_parquet(published_sample / FOOTPRINTS)


def test_there_is_a_row_a_patch_in_the_order_of_the_manifest(
    published_sample: Path, places: geopandas.GeoDataFrame
) -> None:
    manifest = pq.read_table(published_sample / MANIFEST)
    found = pq.read_table(published_sample / FOOTPRINTS)
    assert found.column_names == ["patch_id", "split", "country", "labels", "geometry", "bbox"]
    for name in ("patch_id", "split", "country", "labels"):
        assert found.column(name).equals(manifest.column(name))
    assert places.crs == "OGC:CRS84"
    middles = shapely.get_coordinates(shapely.centroid(places.geometry.to_numpy()))
    np.testing.assert_allclose(middles[:, 0], manifest.column("lon"), atol=2e-6)
    np.testing.assert_allclose(middles[:, 1], manifest.column("lat"), atol=2e-6)


def test_outlines_are_the_corners_of_the_files(places: geopandas.GeoDataFrame, sample: Sample) -> None:
    outlines = dict(zip(places["patch_id"], places.geometry, strict=True))
    for path, content in archives.members(sample.folder / archives.IMAGES):
        if not path.endswith("_B03.tif"):
            continue
        outline = outlines.pop(path.split("/")[2])
        with rasterio.open(io.BytesIO(content)) as file:
            west, south, east, north = file.bounds
            xs, ys = [west, east, east, west, west], [south, south, north, north, south]
            corners = np.transpose(transform(file.crs, "OGC:CRS84", xs, ys))
        np.testing.assert_allclose(shapely.get_coordinates(outline), corners, rtol=0, atol=1e-8)
        assert outline.exterior.is_ccw
    assert not outlines


def test_boxes_contain_their_outlines_and_select_them(
    published_sample: Path, places: geopandas.GeoDataFrame
) -> None:
    path = published_sample / FOOTPRINTS
    found = [list(box.values()) for box in pq.read_table(path).column("bbox").to_pylist()]
    boxes, exact = np.array(found), places.bounds.to_numpy()
    assert (boxes[:, :2] <= exact[:, :2]).all()
    assert (boxes[:, 2:] >= exact[:, 2:]).all()
    np.testing.assert_allclose(boxes, exact, rtol=0, atol=1e-5)
    west, south, east, north = places.geometry.iloc[4].centroid.buffer(0.012).bounds
    chosen = geopandas.read_parquet(path, bbox=(west, south, east, north))["patch_id"].tolist()
    box = shapely.box(west, south, east, north)
    assert chosen == places[places.intersects(box)]["patch_id"].tolist()
    assert 1 < len(chosen) < len(places)
    where = "bbox.xmin <= ? and bbox.xmax >= ? and bbox.ymin <= ? and bbox.ymax >= ?"
    query = f"select patch_id from read_parquet('{path}') where {where}"  # noqa: S608
    assert [row[0] for row in duckdb.execute(query, [east, west, north, south]).fetchall()] == chosen


def test_patches_outside_of_utm_have_no_outline(published_sample: Path, tmp_path: Path) -> None:
    draft = draft_of(published_sample, tmp_path)
    with pq.ParquetWriter(tmp_path / MANIFEST, pq.read_schema(draft.manifest)) as writer:
        for nth, (_, rows) in enumerate(draft.rows(writer.schema.names)):
            elsewhere = pa.array([3035] * len(rows), pa.int32())
            at = rows.column_names.index("crs")
            writer.write_table(rows.set_column(at, "crs", elsewhere) if nth == 1 else rows)
    (tmp_path / FOOTPRINTS).write_bytes(footprints_parquet(replace(draft, manifest=tmp_path / MANIFEST)))
    found = geopandas.read_parquet(tmp_path / FOOTPRINTS)
    first, second = (entry.patches for entry in draft.card.tiles[:2])
    outside = [first <= i < first + second for i in range(len(found))]
    assert found.geometry.isna().tolist() == outside
    assert pq.read_table(tmp_path / FOOTPRINTS).column("bbox").is_null().to_pylist() == outside
