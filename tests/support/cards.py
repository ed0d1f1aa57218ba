"""Dataset cards written by hand, as a program of somebody else might."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
OTHER_TILE = "S2B_MSIL2A_20170802T092029_N9999_R093_T34TCR"
SHARDS = (f"tiles/images/{TILE}.zip", f"tiles/masks/{TILE}.zip")
OTHER_SHARDS = (f"tiles/images/{OTHER_TILE}.zip", f"tiles/masks/{OTHER_TILE}.zip")
ZIPS = ("bigearthnet_pngs.zip", "bigearthnet_mask_pngs.zip")
NAMES = (*ZIPS, "manifest.parquet", *SHARDS, *OTHER_SHARDS)


def files(names: tuple[str, ...] = NAMES) -> dict[str, bytes]:
    """Bytes for each name, all different."""
    return {name: name.encode() * (100 + i) for i, name in enumerate(names)}


def entry(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def card(contents: Mapping[str, bytes], **changes: Any) -> bytes:
    """The card of a dataset of these files."""
    return json.dumps(
        {
            "format": "bigearthnet-prefect/1",
            "title": "a title",
            "license": "a licence",
            "citation": "a citation",
            "digest": "0" * 64,
            "source": {"kind": "folder", "record": "a record", "version": "1", "title": "it", "files": []},
            "parameters": {"selection": {}, "rendering": {}, "digest": "1" * 64},
            "software": {},
            "counts": {"tiles": 2, "asked_for": 3, "patches": 3, "rejected": 0, "splits": {}},
            "mask_classes": [],
            "images": {"all": None, "train": None},
            "rejected": [],
            "files": [entry(name, data) for name, data in contents.items()],
            **changes,
        }
    ).encode()
