"""A published dataset, looked at without this project's own modules."""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import ZIP_STORED, ZipFile

CARD = "dataset.json"
ZIPS = {"images": ("bigearthnet_pngs.zip", ".png"), "masks": ("bigearthnet_mask_pngs.zip", "_mask.png")}


@dataclass(frozen=True, slots=True)
class Published:
    """SHA-256 of each file of a dataset by its name."""

    sha256: dict[str, str]

    @classmethod
    def read(cls, destination: Path) -> Self:
        """Every file there is but the lock; hidden ones too, as none of them belongs there."""
        paths = [path for path in destination.rglob("*") if path.is_file() and path.name != ".lock"]
        digests = {str(path.relative_to(destination)): _sha256(path) for path in sorted(paths)}
        return cls(digests)


def read_card(destination: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((destination / CARD).read_text(encoding="utf-8"))
    return card


def require_whole(destination: Path) -> dict[str, Any]:
    """The card, after comparing every file that it names, and both zips' patches with each other."""
    card = read_card(destination)
    for file in card["files"]:
        path = destination / file["name"]
        assert path.stat().st_size == file["size"], file
        assert _sha256(path) == file["sha256"], file
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
    """Whether Info-ZIP finds nothing wrong."""
    done = subprocess.run(["unzip", "-tqq", str(path)], check=False, capture_output=True, text=True)
    return done.returncode == 0 and not done.stdout


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
