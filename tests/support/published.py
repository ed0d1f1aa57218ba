"""A published dataset, looked at without this project's own modules."""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import ZIP_STORED, ZipFile

CARD = "dataset.json"
IMAGES_ZIP, MASKS_ZIP = "bigearthnet_pngs.zip", "bigearthnet_mask_pngs.zip"
MANIFEST, PREVIEW = "manifest.parquet", "preview.png"
PAGE, INDEX = "preview.html", "browse.bin"
DOCUMENTS = (
    *(PREVIEW, PAGE, INDEX, "footprints.parquet"),
    *("quality.json", "quality.png", "README.md", "croissant.json"),
)
FILES = {CARD, IMAGES_ZIP, MASKS_ZIP, MANIFEST, *DOCUMENTS}
ZIPS = {"images": (IMAGES_ZIP, ".png"), "masks": (MASKS_ZIP, "_mask.png")}
_OWN = (".lock", ".bigearthnet", ".staging", ".staging/digests")


@dataclass(frozen=True, slots=True)
class Published:
    """SHA-256 of each file of a dataset by its name."""

    sha256: dict[str, str]

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Self:
        """Leaves out the store's own files: marker, lock and notes of digests."""
        others = {name: data for name, data in files.items() if not is_own(name)}
        return cls({name: hashlib.sha256(data).hexdigest() for name, data in sorted(others.items())})

    @classmethod
    def read(cls, destination: Path) -> Self:
        """All files, and all folders, which do not belong there."""
        found = {str(path.relative_to(destination)): path for path in destination.rglob("*")}
        return cls.of({name: b"" if path.is_dir() else path.read_bytes() for name, path in found.items()})


def is_own(name: str) -> bool:
    return name in _OWN or name.startswith(".staging/digests/")


def read_card(destination: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((destination / CARD).read_text(encoding="utf-8"))
    return card


def require_whole(destination: Path) -> dict[str, Any]:
    """The card, after comparing every file that it names, and both zips' patches with each other."""
    card = read_card(destination)
    for file in card["files"]:
        data = (destination / file["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"]), file
    names = {file["name"] for file in card["files"]}
    assert {name for name in names if "/" not in name} == FILES - {CARD}
    formats = {name.partition("/")[0] for name in names if "/" in name}
    assert formats == set(card["parameters"]["packaging"]["formats"])
    assert patch_ids(destination, "images") == patch_ids(destination, "masks")
    assert len(patch_ids(destination, "images")) == card["counts"]["patches"]
    return card


def patch_ids(destination: Path, kind: str) -> list[str]:
    """The patches of one of the zips, in its order."""
    name, ending = ZIPS[kind]
    with ZipFile(destination / name) as file:
        assert all(info.compress_type == ZIP_STORED for info in file.infolist())
        return [member.removesuffix(ending) for member in file.namelist()]


def member(destination: Path, kind: str, patch_id: str) -> bytes:
    name, ending = ZIPS[kind]
    with ZipFile(destination / name) as file:
        return file.read(patch_id + ending)


def unzip_tests(path: Path) -> bool:
    """True if Info-ZIP finds nothing wrong."""
    done = subprocess.run(["unzip", "-tqq", str(path)], check=False, capture_output=True, text=True)
    return done.returncode == 0 and not done.stdout
