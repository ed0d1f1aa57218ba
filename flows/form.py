"""Parameters that several flows share, as the Prefect UI's form shows them."""

from typing import Annotated, Any

from pydantic import Field

from bigearthnet.options import Rendering, Selection, Transfer


def titled(title: str, **limits: Any) -> Any:
    """A field of a flow's form with a title; its description is the docstring's.

    Prefect passes over a `title` given to `Field`, but not over one in the schema's extras.
    """
    return Field(json_schema_extra={"title": title}, **limits)


RecordSource = Annotated[str, titled("Source")]
BucketPlace = Annotated[str, titled("Destination [s3://bucket/prefix]")]
PublishedPlace = Annotated[str, titled("Dataset [s3://bucket/prefix]")]
DatasetPlace = Annotated[str, titled("Destination [folder or s3://bucket/prefix]")]
Patches = Annotated[Selection, titled("Selection")]
Pixels = Annotated[Rendering, titled("Rendering")]
Archives = Annotated[Transfer, titled("What becomes of the archives")]
Rejects = Annotated[int, titled("Rejected patches allowed", ge=0)]
WorkFolder = Annotated[str, titled("Work folder")]
Credentials = Annotated[str, titled("Block of AWS credentials")]
