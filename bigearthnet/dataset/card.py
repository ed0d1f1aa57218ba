"""The dataset card, `dataset.json`: what a published dataset is made of. Written last; readers go by it."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bigearthnet import __version__
from bigearthnet.errors import SourceError
from bigearthnet.options import Rendering, Selection

CARD = "dataset.json"
FORMAT: Final = "bigearthnet-prefect/1"
LICENSE = "CDLA-Permissive-1.0"
CITATION = (
    "K. Clasen, L. Hackel, T. Burgert, G. Sumbul, B. Demir, V. Markl: reBEN: Refined BigEarthNet Dataset "
    "for Remote Sensing Image Analysis. IEEE International Geoscience and Remote Sensing Symposium (IGARSS), "
    "2025."
)
_LIBRARIES = ("opencv-python-headless", "rasterio", "numpy", "pyarrow", "zstandard")

Verification = Literal["md5 as in the record", "md5 computed, none to compare with", "not read to the end"]


def _is_plain(name: str) -> bool:
    """Whether a name leads to a file below the card's folder, and to none that is hidden, or the card."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    usable = path.parts[:1] not in ((), (CARD,)) and not path.is_absolute() and not hidden
    return usable and name == str(path) and name.isprintable()


def _require_plain(name: str) -> str:
    if not _is_plain(name):
        raise ValueError("expected a path below the card's folder without hidden parts, '.' and '..'")
    return name


def _require_distinct(files: "tuple[PublishedFile, ...]") -> "tuple[PublishedFile, ...]":
    if len({file.name for file in files}) < len(files):
        raise ValueError("expected each name once")
    return files


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceFile(_Part):
    """A file of the record. md5 in hex; `verification` says what it is worth."""

    name: str
    size: int
    md5: str
    verification: Verification


class Source(_Part):
    """The record that the dataset was made from."""

    kind: Literal["zenodo", "folder"]
    record: str
    version: str
    title: str
    files: tuple[SourceFile, ...]


class Parameters(_Part):
    """What the person chose, and the SHA-256 of it."""

    selection: Selection
    rendering: Rendering
    digest: str


class Counts(_Part):
    """Tiles and patches; `asked_for` = `patches` + those of `rejected` that were asked for."""

    tiles: int
    asked_for: int
    patches: int
    rejected: int
    splits: dict[str, int]


class ClassEntry(_Part):
    """A value of the masks: its name, official colour (RGB) and number of pixels."""

    value: int
    name: str
    colour: tuple[int, int, int]
    pixels: int


class Moments(_Part):
    """Mean and standard deviation of red, green, blue over all pixels, in 0 to 255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class ImageStatistics(_Part):
    """Statistics of the 8-bit images; `train` is null without metadata or without patches of that split."""

    all: Moments | None
    train: Moments | None


class RejectedPatch(_Part):
    """A patch that is in neither zip, and why."""

    patch_id: str
    reason: str


class PublishedFile(_Part):
    """A file beside the card; name relative to it, size in bytes, sha256 in hex."""

    name: Annotated[str, AfterValidator(_require_plain)]
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Card(_Part):
    """A published dataset."""

    format: Literal["bigearthnet-prefect/1"]
    title: str
    license: str
    citation: str
    digest: str
    source: Source
    parameters: Parameters
    software: dict[str, str]
    counts: Counts
    mask_classes: tuple[ClassEntry, ...]
    images: ImageStatistics
    rejected: tuple[RejectedPatch, ...]
    files: Annotated[tuple[PublishedFile, ...], AfterValidator(_require_distinct)]

    def dump(self) -> bytes:
        """The card as JSON, the same bytes for the same card."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"


def software() -> dict[str, str]:
    """Versions of this package and of the libraries that its bytes depend on."""
    return {"bigearthnet-prefect": __version__} | {name: version(name) for name in _LIBRARIES}


def digest_of(*parts: object) -> str:
    """SHA-256 (hex) of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def parameters(selection: Selection, rendering: Rendering) -> Parameters:
    """The person's choices with their digest."""
    digest = digest_of(selection.model_dump(mode="json"), rendering.model_dump(mode="json"))
    return Parameters(selection=selection, rendering=rendering, digest=digest)


def read_card(folder: Path) -> Card | None:
    """The card of the dataset published in a folder, none if there is none.

    Raises:
        SourceError: there is a file of that name that is no card.
    """
    path = folder / CARD
    try:
        return parse_card(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def parse_card(data: bytes, where: str) -> Card:
    """The card that these bytes are. Its files' names are safe to use below a folder.

    Args:
        data: the bytes.
        where: the file or object that they are of, for the message.

    Raises:
        SourceError: they are no card.
    """
    try:
        return Card.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the beginning"
        raise SourceError(
            f"{where}: expected a card of format {FORMAT}, found something else ({error.error_count()} "
            f"differences; at {place}: {first['msg']}); move it away if it is not needed"
        ) from error
