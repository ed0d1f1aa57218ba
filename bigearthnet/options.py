"""What a person chooses: which patches, and how they are rendered. The Prefect UI draws these as forms."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bigearthnet.classes import MaskForm

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Country = Literal[
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
Percent = Annotated[float, Field(ge=0, le=100)]
Transfer = Literal["keep", "stream"]


class _Choice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Selection(_Choice):
    """Which patches to prepare. Left empty, everything."""

    tiles: tuple[str, ...] = Field(
        default=(),
        title="Tiles",
        description="Names of tiles, or patterns such as *_T33UUP. Empty: all 115.",
    )
    splits: tuple[Split, ...] = Field(
        default=(), title="Splits", description="Official splits to take. Empty: all."
    )
    countries: tuple[Country, ...] = Field(
        default=(), title="Countries", description="Countries to take. Empty: all ten."
    )
    snow_cloud_shadow: Literal["include", "exclude"] = Field(
        default="include",
        title="Snow, cloud and shadow",
        description="Whether to take the 69,450 patches with seasonal snow, cloud or cloud shadow.",
    )
    max_patches: int = Field(
        default=0,
        ge=0,
        title="At most so many patches",
        description="Take only the first patches of the selection, in the order of their names. 0: all.",
    )

    @property
    def needs_metadata(self) -> bool:
        """Whether it asks for what only the record's metadata knows."""
        return bool(self.splits or self.countries or self.snow_cloud_shadow == "exclude")


class Rendering(_Choice):
    """How reflectances become RGB, and reference maps masks."""

    stretch: Literal["reflectance", "percentile", "minmax"] = Field(
        default="reflectance",
        title="Stretch",
        description=(
            "How reflectance becomes 0 to 255. reflectance: one scale for all patches, comparable. "
            "percentile: each patch by its own percentiles. minmax: each band of each patch by its own "
            "extremes."
        ),
    )
    reflectance_max: int = Field(
        default=3000,
        ge=1,
        le=65535,
        title="Brightest reflectance [reflectance × 10,000]",
        description="What becomes 255 with the stretch reflectance. 3000 suits land; clouds reach 10,000.",
    )
    percentiles: tuple[Percent, Percent] = Field(
        default=(2.0, 98.0),
        title="Percentiles [%]",
        description="Low and high, which become 0 and 255 with the stretch percentile.",
    )
    mask_classes: MaskForm = Field(
        default="clc",
        title="Classes of the masks",
        description=(
            "clc: CORINE's codes, such as 311, 16 bit. clc_l3: its classes, 1 to 45. clc_l1: its groups, "
            "1 to 6. ben19: BigEarthNet's 19 classes, 0 to 18, and 255 for unlabelled."
        ),
    )
    png_compression: int = Field(
        default=1,
        ge=0,
        le=9,
        title="PNG compression [zlib level]",
        description="1 suits: higher levels take up to ten times as long and save next to nothing.",
    )

    @model_validator(mode="after")
    def _percentiles_ascend(self) -> Self:
        low, high = self.percentiles
        if low >= high:
            raise ValueError(
                f"percentiles: expected the low one before the high one, such as 2 and 98, "
                f"found {low:g} and {high:g}"
            )
        return self
