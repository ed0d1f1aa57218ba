"""Croissant metadata of a dataset, which tools for machine learning and dataset search read.

Source: the Croissant format specification 1.0 (MLCommons, March 2024), with its JSON-LD context.
"""

import json
import re
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.layout import MANIFEST, ZIPS
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.tile.rows import SUFFIXES

SOURCE_URL: Final = "https://doi.org/10.5281/zenodo.10891137"
LICENSE_URL: Final = "https://cdla.dev/permissive-1-0/"
_CREATORS: Final = (
    *("Kai Norman Clasen", "Leonard Hackel", "Tom Burgert", "Gencer Sumbul", "Begüm Demir", "Volker Markl"),
)
_TERMS: Final = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
    *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
    *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
    "transform",
)
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    **{term: f"cr:{term}" for term in _TERMS},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}


def croissant_json(draft: Draft) -> bytes:
    """Return Croissant 1.0: zips and manifest, the manifest's columns, and images and masks by patch id."""
    card = draft.card
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": card.title,
        "description": f"{card.counts.patches:,} patches of Sentinel-2 as RGB PNGs of 120 × 120 pixels, with "
        "masks of their land cover, for semantic segmentation.",
        "url": SOURCE_URL,
        "license": LICENSE_URL,
        "citeAs": card.citation,
        "creator": [{"@type": "sc:Person", "name": name} for name in _CREATORS],
        "distribution": [
            *(_file(draft, ZIPS[kind], "application/zip") for kind in KINDS),
            _file(draft, MANIFEST, "application/x-parquet"),
            *(_members(kind) for kind in KINDS),
        ],
        "recordSet": [_manifest(pq.read_schema(draft.manifest)), *(_pngs(kind) for kind in KINDS)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _file(draft: Draft, name: str, media_type: str) -> dict[str, Any]:
    file = draft.card.file(name)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{file.size} B",
        "encodingFormat": media_type,
        "sha256": file.sha256,
    }


def _members(kind: Kind) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{kind}-pngs",
        "name": f"{kind}-pngs",
        "containedIn": {"@id": ZIPS[kind]},
        "encodingFormat": "image/png",
        "includes": f"*{SUFFIXES[kind]}",
    }


def _manifest(schema: pa.Schema) -> dict[str, Any]:
    fields = [_column(field) for field in schema]
    return {
        "@type": "cr:RecordSet",
        "@id": "patches",
        "name": "patches",
        "key": {"@id": "patches/patch_id"},
        "field": fields,
    }


def _column(field: pa.Field) -> dict[str, Any]:
    """Return a field of the record set of the manifest; the parts of lists of structs are its sub-fields."""
    name, source = f"patches/{field.name}", _source({"fileObject": {"@id": MANIFEST}}, {"column": field.name})
    found: dict[str, Any] = {"@type": "cr:Field", "@id": name, "name": field.name}
    if not pa.types.is_list(field.type):
        return found | {"dataType": _data_type(field.type), **source}
    found["repeated"] = True
    if not pa.types.is_struct(field.type.value_type):
        return found | {"dataType": _data_type(field.type.value_type), **source}
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{part.name}",
            "name": part.name,
            "repeated": True,
            "dataType": _data_type(part.type),
            "source": source["source"] | {"transform": {"jsonPath": part.name}},
        }
        for part in field.type.value_type
    ]
    return found | {"subField": parts}


def _data_type(column: pa.DataType) -> str:
    for fits, name in (
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_date, "sc:Date"),
    ):
        if fits(column):
            return name
    return "sc:Text"


def _pngs(kind: Kind) -> dict[str, Any]:
    files = {"fileSet": {"@id": f"{kind}-pngs"}}
    patch_id = _source(files, {"fileProperty": "filename"})
    # mlcroissant also applies it to ids of the manifest, which have no suffix.
    patch_id["source"]["transform"] = {"regex": f"^(.*?)(?:{re.escape(SUFFIXES[kind])})?$"}
    key = f"{kind}/patch_id"
    return {
        "@type": "cr:RecordSet",
        "@id": kind,
        "name": kind,
        "key": {"@id": key},
        "field": [
            {
                "@type": "cr:Field",
                "@id": key,
                "name": "patch_id",
                "dataType": "sc:Text",
                "references": {"field": {"@id": "patches/patch_id"}},
                **patch_id,
            },
            {
                "@type": "cr:Field",
                "@id": f"{kind}/png",
                "name": "png",
                "dataType": "sc:ImageObject",
                **_source(files, {"fileProperty": "content"}),
            },
        ],
    }


def _source(file: dict[str, Any], extract: dict[str, Any]) -> dict[str, Any]:
    return {"source": {**file, "extract": extract}}
