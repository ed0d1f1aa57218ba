"""The dataset card, `dataset.json`: what a published dataset is made of. It is written last."""

import json
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, FailFast, Field, TypeAdapter

from bigearthnet.dataset.layout import CARD, MANIFEST, ZIPS
from bigearthnet.errors import RejectedError, SourceError
from bigearthnet.names import TILE_PATTERN
from bigearthnet.options import Frozen, Packaging, Rendering, Selection, SplitName
from bigearthnet.plan.recipe import Kind, RecordUsed, SubsetStep
from bigearthnet.source.record import DOCUMENT_BYTES, Size, parse_json
from bigearthnet.tile.convert import Rejected

FORMAT: Final = "bigearthnet-prefect/3"
_NAME_CHARACTERS: Final = 200
"""Of a file: disks take 255 bytes a part, and messages have the name."""


def _require_plain(name: str) -> str:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    plain = path.parts[:1] not in ((), (CARD,)) and not path.is_absolute() and not hidden
    if not plain or name != str(path) or not name.isprintable() or len(name) > _NAME_CHARACTERS:
        raise ValueError(
            f"must be a path below the card's folder, of at most {_NAME_CHARACTERS} characters, without "
            "hidden parts, '.' and '..'"
        )
    return name


def _require_dataset(files: "tuple[PublishedFile, ...]") -> "tuple[PublishedFile, ...]":
    names = {file.name for file in files}
    if len(names) < len(files):
        raise ValueError("must have each name once")
    if not names.issuperset((*ZIPS.values(), MANIFEST)):
        raise ValueError("must have both zips and the manifest")
    return files


Part = Literal["all", "train", "validation", "test"]
"""All patches, or those of a split."""


class Parameters(Frozen):
    """The options that the dataset was made with, the digests of its recipe, and `layout.BESIDE`."""

    selection: Selection
    rendering: Rendering
    packaging: Packaging
    digests: dict[Kind, str]
    beside: int


class Counts(Frozen):
    """Tiles with patches, patches asked for, patches in the zips, rejected ones, and patches by split."""

    tiles: int
    asked_for: int
    patches: int
    rejected: int
    splits: dict[SplitName, int]


class ClassWeights(Frozen):
    """Weights of a class for a loss; how they are made is said in `dataset.statistics`."""

    inverse: float
    median_frequency: float


class ClassEntry(Frozen):
    """A value of the masks: its name, official colour (RGB), pixels by split, and weights if it has some."""

    value: int
    name: str
    colour: tuple[int, int, int]
    pixels: dict[Part, int]
    weights: ClassWeights | None


class CodeEntry(Frozen):
    """A CORINE code, and the values that stand for it in the other forms of masks."""

    code: int
    name: str
    clc_l3: int
    clc_l1: int
    ben19: int


class Moments(Frozen):
    """Mean and standard deviation of red, green, blue over all pixels of 8-bit images, in 0 to 255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class ShardEntry(Frozen):
    """Bytes `start` to `stop` of a zip that hold a tile's members, and the key of what is there."""

    key: str
    start: Size
    stop: Size


class TileEntry(Frozen):
    """A tile: where its members are in both zips."""

    tile: str = Field(pattern=f"^{TILE_PATTERN}$")
    patches: Size
    images: ShardEntry
    masks: ShardEntry

    def shard(self, kind: Kind) -> ShardEntry:
        """The entry of that kind."""
        return self.images if kind == "images" else self.masks


class PublishedFile(Frozen):
    """A file beside the card: name relative to it, size in bytes, SHA-256 in hex."""

    name: Annotated[str, AfterValidator(_require_plain)]
    size: Size
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Card(Frozen):
    """A published dataset."""

    format: Literal["bigearthnet-prefect/3"]
    title: str
    license: str
    citation: str
    source: RecordUsed
    parameters: Parameters
    subset: tuple[SubsetStep, ...] = ()  # how it was chosen from a prepared dataset, one step after another
    software: dict[str, str]
    counts: Counts
    mask_classes: Annotated[tuple[ClassEntry, ...], FailFast()]
    ignore_index: int  # the value of pixels without a class, which has no weights
    clc_codes: Annotated[tuple[CodeEntry, ...], FailFast()]
    images: dict[Part, Moments]
    rejected: Annotated[tuple[Rejected, ...], FailFast()]
    tiles: Annotated[tuple[TileEntry, ...], FailFast()]
    files: Annotated[tuple[PublishedFile, ...], FailFast(), AfterValidator(_require_dataset)]

    def file(self, name: str) -> PublishedFile:
        """The file of that name."""
        return next(file for file in self.files if file.name == name)

    def dump(self) -> bytes:
        """Return the card as JSON: the same bytes for the same card.

        Raises:
            RejectedError: it would be too large to be read again.
        """
        data = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"
        if len(data) > DOCUMENT_BYTES:
            count = len(self.rejected)
            raise RejectedError(f"{count:,} rejected patches do not fit into {CARD}. Check the source.")
        return data


_CARD: Final = TypeAdapter(Card)


def parse_card(data: bytes, where: str) -> Card:
    """Read a card from the file or object `where`. The names of its files are safe to use below a folder.

    Raises:
        SourceError: it is no card.
    """
    try:
        return parse_json(_CARD, data)
    except ValueError as error:
        raise SourceError(
            f"{where} is not a card of format {FORMAT} ({error}). If it is not needed, move it away."
        ) from None
