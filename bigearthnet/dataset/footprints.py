"""The map of a dataset: GeoParquet with the outline of each patch, for GIS programs and spatial queries.

Sources: GeoParquet 1.1.0; well-known binary as in OGC Simple Features 06-103r4, section 8.2.
"""

import json
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.geography import Degrees, is_utm, lon_lat
from bigearthnet.tile.rows import BOUND_COLUMNS

_FACTS: Final = ("patch_id", "split", "country", "labels")
_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
_WKB: Final = np.dtype(
    [("order", "u1"), ("type", "<u4"), ("rings", "<u4"), ("points", "<u4"), ("ring", "<f8", (5, 2))]
)
_LITTLE_ENDIAN, _POLYGON, _RINGS, _POINTS = 1, 3, 1, 5


def footprints_parquet(draft: Draft) -> bytes:
    """Return a GeoParquet file with a row a patch, in the order of the manifest, and a row group a tile.

    The columns are some of the manifest's, `geometry` (polygons as WKB, counter-clockwise, in OGC:CRS84,
    which GeoParquet takes without `crs`), and `bbox` (float32, rounded outwards). Both are null for patches
    outside of UTM.
    """
    output = BytesIO()
    facts = [pq.read_schema(draft.manifest).field(name) for name in _FACTS]
    bbox = pa.struct([(side, pa.float32()) for side in _SIDES])
    schema = pa.schema([*facts, ("geometry", pa.binary()), ("bbox", bbox)], {"geo": json.dumps(_metadata())})
    texts = [*_FACTS, "labels.list.element"]
    with pq.ParquetWriter(output, schema, compression="zstd", use_dictionary=texts) as writer:
        for _, rows in draft.rows([*_FACTS, "crs", *BOUND_COLUMNS]):
            columns = [rows.column(name) for name in _FACTS]
            writer.write_table(pa.table([*columns, *_places(rows, bbox)], schema))
    return output.getvalue()


def _metadata() -> dict[str, Any]:
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _places(rows: pa.Table, bbox: pa.DataType) -> tuple[pa.Array, pa.Array]:
    """Return polygons and bounding boxes of the patches of a tile, which is in one zone."""
    epsg = rows.column("crs")[0].as_py()
    if not is_utm(epsg):
        return pa.nulls(len(rows), pa.binary()), pa.nulls(len(rows), bbox)
    west, south, east, north = (rows.column(name).to_numpy() for name in BOUND_COLUMNS)
    x, y = np.stack([west, east, east, west], axis=1), np.stack([south, south, north, north], axis=1)
    lon, lat = lon_lat(epsg, x, y)
    sides = (
        *(_to_float32(degrees.min(axis=1), -np.inf) for degrees in (lon, lat)),
        *(_to_float32(degrees.max(axis=1), np.inf) for degrees in (lon, lat)),
    )
    boxes = pa.StructArray.from_arrays([pa.array(side) for side in sides], fields=list(bbox))
    return _polygons(lon, lat), boxes


def _polygons(lon: Degrees, lat: Degrees) -> pa.Array:
    """Return polygons as WKB; `lon` and `lat` have the four corners of each, (polygons, 4)."""
    made = np.zeros(len(lon), _WKB)
    made["order"], made["type"], made["rings"], made["points"] = _LITTLE_ENDIAN, _POLYGON, _RINGS, _POINTS
    made["ring"][:, :4] = np.stack([lon, lat], axis=-1)
    made["ring"][:, 4] = made["ring"][:, 0]
    offsets = np.arange(len(lon) + 1, dtype=np.int32) * np.int32(_WKB.itemsize)
    return pa.Array.from_buffers(pa.binary(), len(lon), [None, pa.py_buffer(offsets), pa.py_buffer(made)])


def _to_float32(values: Degrees, towards: float) -> npt.NDArray[np.float32]:
    """Round to float32 towards minus or plus infinity, so that a box never excludes a corner."""
    near = values.astype(np.float32)
    inside = near > values if towards < 0 else near < values
    return np.where(inside, np.nextafter(near, np.float32(towards)), near)
