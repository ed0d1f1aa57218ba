"""Share: links by which anybody can download a published dataset, for some hours."""

from typing import Annotated, Any

from bigearthnet.dataset.choice import choose_names
from bigearthnet.store.s3.share import links_path
from prefect import flow
from tasks.buckets import open_bucket

from bigearthnet.dataset.card import CARD
from bigearthnet.dataset.publish import IMAGES_ZIP, MANIFEST, MASKS_ZIP
from bigearthnet.errors import SourceError
from flows.form import Credentials, PublishedPlace, titled
from tasks.fetch import look
from tasks.share import Wish, share_files

USUAL_FILES = (IMAGES_ZIP, MASKS_ZIP, MANIFEST, CARD)
"""What training needs; the shards are the same once more."""


@flow(name="share", flow_run_name="share {source}")
def share(
    source: PublishedPlace,
    files: Annotated[tuple[str, ...], titled("Files", min_length=1)] = (
        IMAGES_ZIP,
        MASKS_ZIP,
        MANIFEST,
        CARD,
    ),
    expires_minutes: Annotated[int, titled("Links end after [1 to 720 minutes]", ge=1, le=720)] = 60,
    download_name: Annotated[
        str, titled("Name to save as", max_length=100, pattern=r'^[^/\\"\x00-\x1f\x7f]*$')
    ] = "",
    links_file: Annotated[str, titled("File for the links")] = "~/bigearthnet/links.txt",
    show_in_ui: Annotated[bool, titled("Show the links in this UI")] = False,
    aws_credentials: Credentials = "",
) -> dict[str, Any]:
    """Make presigned links to files of a published dataset. A link is a secret: whoever has it can download.

    Args:
        source: Where the dataset is published.
        files: Names of published files, or patterns such as tiles/images/*_T33UUP.zip; * stands for slashes
            too.
        expires_minutes: From now until the links end. Those signed with temporary credentials, such as an
            instance role's, end with these at the latest; the log warns of it.
        download_name: What a browser saves the file as; of several files the beginning of that name, before
            each file's own. No slash, backslash or quotation mark. Empty: the file's own name.
        links_file: The file on the machine of this run that the links are written to, readable by its owner
            only.
        show_in_ui: Show the links as an artifact of this run too, to everybody who can see this UI.
        aws_credentials: The name of an AwsCredentials block, saved on the page Blocks. Empty: an instance
            role, or whatever else boto3 finds.
    """
    bucket, target = open_bucket(source, aws_credentials, SourceError), links_path(links_file)
    sizes = look(bucket).sizes
    chosen = {name: sizes[name] for name in choose_names(sizes, files)}
    wish = Wish(chosen, expires_minutes, download_name, target, show_in_ui)
    ends_at = share_files(bucket, wish, aws_credentials)
    return {"count": len(chosen), "expires_at": ends_at.isoformat(), "links_file": str(target)}
