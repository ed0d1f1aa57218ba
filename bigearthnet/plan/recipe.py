"""What a dataset is made of, and the keys under which what was made of a tile is found again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final, Literal

from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE
from bigearthnet.options import Frozen, Packaging, Rendering, Selection, SubsetSelection
from bigearthnet.plan.selection import TilePlan
from bigearthnet.source.record import SourceFile

Kind = Literal["images", "masks"]
KINDS: Final[tuple[Kind, ...]] = ("images", "masks")

FORMATS: Final[dict[Kind, int]] = {"images": 2, "masks": 2}
"""Raise a number when images or masks get other bytes from the same input and options; keys depend on it.

Raise both when other patches are rejected: images and masks of a tile have to be of the same patches.
"""
_ENCODER: Final = "zlib-ng"  # its version can change the bytes of PNGs


class RecordUsed(Frozen):
    """The record that a dataset is made from; nothing in it depends on the machine or the time."""

    kind: Literal["zenodo", "folder"]
    record: str
    version: str
    title: str
    files: tuple[SourceFile, ...]

    @property
    def is_verified(self) -> bool:
        """False if the images' archive was streamed, but not to its end."""
        return all(file.verification != "not read to the end" for file in self.files)

    def md5(self, name: str) -> str:
        """The md5 of a file of the record, hex."""
        return next(file.md5 for file in self.files if file.name == name)


class SubsetStep(Frozen):
    """A choice among the patches of a dataset, which had a card with that SHA-256 (hex)."""

    card_sha256: str
    selection: SubsetSelection


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the bytes of a dataset depend on."""

    source: RecordUsed
    selection: Selection
    rendering: Rendering
    packaging: Packaging = Packaging()  # noqa: RUF009 - frozen
    subset: tuple[SubsetStep, ...] = ()  # from the prepared dataset on
    copied: Mapping[Kind, str] = field(default_factory=dict, compare=False)  # digests of copied PNGs

    def digest(self, kind: Kind) -> str:
        """Digest of all that the bytes of a patch's image or mask depend on, but for the patch."""
        if kind in self.copied:
            return self.copied[kind]
        archives = [self.source.md5(IMAGES_ARCHIVE), self.source.md5(MAPS_ARCHIVE)]
        how = self.rendering
        options = _image_options(how) if kind == "images" else how.mask_classes
        return digest_of(kind, FORMATS[kind], version(_ENCODER), archives, options)

    def key(self, kind: Kind, tile: TilePlan) -> str:
        """Key of a tile's images or masks: equal keys mean equal bytes, on any machine."""
        return f"{tile.tile}-{kind}-{digest_of(self.digest(kind), tile.cells.tolist(), tile.whole)[:24]}"


def digest_of(*parts: object) -> str:
    """Return the SHA-256 (hex) of texts, numbers and lists of them."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _image_options(rendering: Rendering) -> list[object]:
    """The options that the stretch uses; others do not change a byte."""
    used: dict[str, list[object]] = {
        "reflectance": [rendering.reflectance_max],
        "percentile": [rendering.percentiles],
    }
    return [rendering.bands, rendering.stretch, *used.get(rendering.stretch, [])]
