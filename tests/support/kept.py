"""Kept bundles, looked at without this project's own modules."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping

import zstandard

BUNDLES = ".bundles/"


def without_bundles(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not f"{name}/".startswith(BUNDLES)}


def kept_members(files: Mapping[str, bytes]) -> list[str]:
    """Names of the members of all kept bundles, after a look at each one's description and digest."""
    kept = {name: data for name, data in files.items() if name.startswith(BUNDLES)}
    described = {
        name.removesuffix(".json"): json.loads(kept.pop(name))
        for name in list(kept)
        if name.endswith(".json")
    }
    assert {f"{name}.tar.zst" for name in described} == set(kept), "a bundle is complete or not there"
    found = []
    for name, description in described.items():
        data = kept[f"{name}.tar.zst"]
        assert description["sha256"] == hashlib.sha256(data).hexdigest()
        assert description["mark"] is None, "what was read is as the record says"
        plain = io.BytesIO(zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read())
        with tarfile.open(fileobj=plain) as tar:
            found += tar.getnames()
    return sorted(found)
