"""Parameters that several flows share, as forms and the command line show them."""

from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import Field

from bigearthnet.options import (
    Packaging,
    Rendering,
    Runner,
    Selection,
    SubsetMasks,
    SubsetSelection,
    Transfer,
)


def titled(title: str, **limits: Any) -> Any:
    """Return a field with a title; its description is the docstring's.

    Prefect ignores a `title` given to `Field`, but not one in the schema's extras.
    """
    return Field(json_schema_extra={"title": title}, **limits)


def _panel(title: str) -> Parameter:
    """Show the fields of a model as options of their own, in a panel of the command line's help."""
    return Parameter(name="*", group=Group.create_ordered(title))


RecordSource = Annotated[str, titled("Source")]

BucketUrl = Annotated[str, titled("Destination [s3://bucket/prefix]")]
PublishedUrl = Annotated[str, titled("Dataset [s3://bucket/prefix]")]
OriginalUrl = Annotated[str, titled("Dataset [folder or s3://bucket/prefix]")]
DatasetUrl = Annotated[str, titled("Destination [folder or s3://bucket/prefix]")]
Patches = Annotated[Selection, titled("Selection"), _panel("Selection")]
PatchesOfDataset = Annotated[SubsetSelection, titled("Selection"), _panel("Selection")]
MasksOfSubset = Annotated[SubsetMasks, titled("Mask classes")]
Pixels = Annotated[Rendering, titled("Rendering"), _panel("Rendering")]
MoreFormats = Annotated[Packaging, titled("Packaging"), _panel("Packaging")]
Archives = Annotated[Transfer, titled("Transfer of the images' archive")]
ConnectionsAtMost = Annotated[int, titled("Maximum number of connections", ge=1, le=4)]
KeepBundles = Annotated[bool, titled("Keep bundles")]
Converters = Annotated[Runner, titled("Runner of the conversion")]
DaskScheduler = Annotated[str, titled("Dask scheduler [tcp://host:port]")]
MaxRejected = Annotated[int, titled("Maximum number of rejected patches", ge=0)]
WorkFolder = Annotated[str, titled("Work folder")]
Credentials = Annotated[str, titled("AwsCredentials block")]
