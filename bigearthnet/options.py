"""Options of a dataset: which patches, and how they are rendered. The UI's forms are made from them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from bigearthnet.classes import BEN19, MaskForm
from bigearthnet.names import BandSet

SplitName = Literal["train", "validation", "test"]
CountryName = Literal[
    "Austria",
    "Belgium",
    "Finland",
    "Ireland",
    "Kosovo",
    "Lithuania",
    "Luxembourg",
    "Portugal",
    "Serbia",
    "Switzerland",
]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
COUNTRIES: tuple[CountryName, ...] = get_args(CountryName)
LABELS: tuple[str, ...] = tuple(name for name, _ in BEN19)
Transfer = Literal["keep", "stream"]
Runner = Literal["threads", "dask"]
SubsetMasks = Literal["unchanged", MaskForm]
FormatName = Literal["webdataset", "parquet"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


def _one_of(names: tuple[str, ...]) -> Callable[[object], object]:
    """Return a validator whose error suggests the names that begin like the given one, or hold it."""

    def check(value: object) -> object:
        if isinstance(value, str) and value not in names:
            text = value.lower()
            begins = [name for name in names if text and name.lower().startswith(text[:3])]
            likely = begins or [name for name in names if text and text in name.lower()]
            hint = f"Did you mean {' or '.join(likely)}?" if likely else f"Choose from {', '.join(names)}."
            raise ValueError(f"there is no {value!r}. {hint}")
        return value

    return check


def _not_negative(value: object) -> object:
    if isinstance(value, int | str) and str(value).startswith("-"):  # text comes from the command line
        raise ValueError(f"the number of patches cannot be negative ({value}). Use 0 for all patches.")
    return value


Split = Annotated[SplitName, BeforeValidator(_one_of(SPLITS))]
Country = Annotated[CountryName, BeforeValidator(_one_of(COUNTRIES))]
Label = Annotated[str, BeforeValidator(_one_of(LABELS)), Field(json_schema_extra={"enum": list(LABELS)})]
Month = Annotated[int, Field(ge=1, le=12)]
Formats = Annotated[
    tuple[Annotated[FormatName, BeforeValidator(_one_of(FORMATS))], ...],
    AfterValidator(lambda names: tuple(name for name in FORMATS if name in names)),
]
Percent = Annotated[float, Field(ge=0, le=100)]
PatchLimit = Annotated[int, Field(ge=0, title="Maximum number of patches"), BeforeValidator(_not_negative)]


class Frozen(BaseModel):
    """A model that is not changed, and has no other fields than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def in_words(self, *, exclude_defaults: bool = False) -> dict[str, str]:
        """Return the values of the fields for messages, with commas between several."""
        values = self.model_dump(exclude_defaults=exclude_defaults).items()
        return {k: ", ".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in values}


class Selection(Frozen):
    """Which patches to prepare; all of them by default."""

    tiles: tuple[str, ...] = Field(
        default=(),
        title="Tiles",
        description="Names of tiles, or patterns such as *_T33UUP. Empty: all.",
    )
    splits: tuple[Split, ...] = Field(
        default=(), title="Splits", description="Official splits to include. Empty: all."
    )
    countries: tuple[Country, ...] = Field(
        default=(), title="Countries", description="Countries to include. Empty: all."
    )
    snow_cloud_shadow: Literal["include", "exclude"] = Field(
        default="include",
        title="Snow, clouds and shadow",
        description="Include or exclude patches with seasonal snow, clouds or cloud shadow (69,450 of all).",
    )
    max_patches: PatchLimit = Field(
        default=0, description="Use only the first N patches, in the order of their ids. 0: all."
    )

    @property
    def asked_for(self) -> str:
        """What differs from the defaults, for messages, such as `tiles = *_T33UUP, max_patches = 9`."""
        fields = self.in_words(exclude_defaults=True).items()
        return ", ".join(f"{name} = {value}" for name, value in fields) or "an empty selection"

    @property
    def needs_metadata(self) -> bool:
        """True if the record's metadata files are needed to select patches."""
        return bool(self.splits or self.countries or self.snow_cloud_shadow == "exclude")


class SubsetSelection(Selection):
    """Which patches of a published dataset to copy; all of them by default."""

    with_labels: tuple[Label, ...] = Field(
        default=(),
        title="With labels",
        description="Patches with any of these of the 19 labels, such as Inland waters. Empty: all.",
    )
    without_labels: tuple[Label, ...] = Field(
        default=(), title="Without labels", description="No patches with any of these labels."
    )
    max_unlabelled: float = Field(
        default=1.0,
        ge=0,
        le=1,
        title="Maximum share of unlabelled pixels",
        description="No patches with a larger share of mask pixels without a class, 0 to 1.",
    )
    months: tuple[Month, ...] = Field(
        default=(),
        title="Months",
        description="Months of acquisition, 1 to 12, such as 6, 7, 8 for the summer. Empty: all.",
    )
    max_patches: PatchLimit = Field(default=0, description="Use only N of the patches that match. 0: all.")
    choose: Literal["first", "random", "balanced"] = Field(
        default="first",
        title="Choice among the patches that match",
        description="first: in the order of their ids; random: by the seed; balanced: by the seed, patches "
        "with the class that has the fewest pixels so far.",
    )
    seed: int = Field(
        default=0,
        title="Seed",
        description="Another number chooses other patches, unless they are the first.",
    )

    @property
    def needs_metadata(self) -> bool:
        """True if the record's metadata is needed to select patches."""
        return super().needs_metadata or bool(self.with_labels or self.without_labels)


class Rendering(Frozen):
    """How reflectance becomes RGB, and how reference maps become masks."""

    bands: BandSet = Field(
        default="true_colour",
        title="Bands",
        description="What is shown as red, green, blue. true_colour: B04, B03, B02; infrared: B08 (near "
        "infrared), B04, B03.",
    )
    stretch: Literal["reflectance", "percentile", "minmax"] = Field(
        default="reflectance",
        title="Stretch",
        description="How reflectance is scaled to 0 to 255. reflectance: one scale for all patches, so that "
        "they can be compared; percentile: each patch by its own percentiles; minmax: each band of each "
        "patch by its own minimum and maximum.",
    )
    reflectance_max: int = Field(
        default=3000,
        ge=1,
        le=65535,
        title="Reflectance shown as 255 [reflectance × 10,000]",
        description="For the stretch reflectance. 3000 suits land; clouds reach 10,000.",
    )
    percentiles: tuple[Percent, Percent] = Field(
        default=(2.0, 98.0),
        title="Percentiles [%]",
        description="For the stretch percentile: the percentiles that become 0 and 255.",
    )
    mask_classes: MaskForm = Field(
        default="ben19",
        title="Mask classes",
        description="ben19: BigEarthNet's 19 classes as 0 to 18, unlabelled 255. clc: CORINE codes such as "
        "311, unlabelled 999, 16 bit. clc_l3: the 44 CORINE classes as 1 to 44, unlabelled 45. clc_l1: their "
        "five groups as 1 to 5, unlabelled 6.",
    )

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> Self:
        low, high = self.percentiles
        if low >= high:
            raise ValueError(
                f"percentiles: the first must be below the second, such as 2 and 98, not {low:g} and {high:g}"
            )
        return self


class Packaging(Frozen):
    """Formats that the dataset is published in, beside its zips."""

    formats: Formats = Field(
        default=(),
        title="More formats",
        description="Formats to publish the dataset in, beside its zips; each takes as much space as these. "
        "webdataset: tars. parquet: files with embedded images for Hugging Face datasets. Both are shuffled, "
        "with a set of files for each split. Empty: none.",
    )
    shard_megabytes: int = Field(
        default=256,
        ge=1,
        title="Size of their files [MB]",
        description="For more formats: the size of each file, about.",
    )
    shuffle_seed: int = Field(
        default=0,
        title="Seed of their order",
        description="For more formats: another seed gives another order of the patches.",
    )


def explain(error: ValidationError) -> str:
    """Return a line for each invalid option, without pydantic's own words: `splits: there is no 'val'. …`."""

    def line(detail: Any) -> str:
        where = ".".join(str(part) for part in detail["loc"] if isinstance(part, str))
        message = detail["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" if where else message

    return "\n".join(line(detail) for detail in error.errors())
