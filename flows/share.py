"""Share: links by which anybody can download files of a published dataset, for some hours."""

from typing import Annotated, Any

from prefect import flow

from bigearthnet.dataset import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP
from bigearthnet.dataset.copies import matching
from bigearthnet.dataset.links import links_path
from flows.fields import Credentials, PublishedUrl, titled
from tasks.connect import open_signing_store
from tasks.freshness import read_published
from tasks.share import share_files

_FILES = (IMAGES_ZIP, MASKS_ZIP, MANIFEST, CARD)


@flow(name="share")
def share(
    source: PublishedUrl,
    *,
    files: Annotated[tuple[str, ...], titled("Files", min_length=1)] = _FILES,
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
        files: Names of published files, or patterns such as *.zip.
        expires_minutes: Minutes from now until the links end. Links that are signed with temporary
            credentials, such as those of an instance role, end with them at the latest; the log warns of it.
        download_name: Name under which a browser saves the file; for several files the beginning of that
            name. No slash, backslash or quotation mark. Empty: the file's own name.
        links_file: File on the machine of this run that the links are written to; only its owner can read it.
        show_in_ui: Show the links on this run's page as well, to everyone who can see this UI.
        aws_credentials: An AwsCredentials block, for S3. Empty: an instance role or your AWS configuration.
    """
    store, path = open_signing_store(source, aws_credentials), links_path(links_file)
    published = read_published(store)
    names = [*(file.name for file in published.card.files), CARD]
    chosen = tuple(matching(names, files, "files"))
    ends_at = share_files(store, chosen, expires_minutes, download_name, path, show_in_ui)
    return {"count": len(chosen), "expires_at": ends_at.isoformat(), "links_file": str(path)}
