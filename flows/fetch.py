"""Fetch: a published dataset, or some of its files or tiles, from a bucket to a folder."""

from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run

from bigearthnet.dataset.choice import choose_files
from bigearthnet.dataset.fetch import Landing
from bigearthnet.errors import SourceError
from bigearthnet.store.lock import hold
from bigearthnet.work.workspace import folder
from flows.form import Credentials, PublishedPlace, titled
from tasks.buckets import open_bucket
from tasks.fetch import compare, fetch_file, finish, look


@flow(name="fetch", flow_run_name="fetch {source} to {destination}")
def fetch(
    source: PublishedPlace,
    destination: Annotated[str, titled("Destination [folder]")],
    files: Annotated[tuple[str, ...], titled("Files")] = (),
    tiles: Annotated[tuple[str, ...], titled("Tiles")] = (),
    aws_credentials: Credentials = "",
) -> dict[str, Any]:
    """Fetch a published dataset to a folder: resumed where it ended, and proved by the card's digests.

    Files that are there and right stay; they are read to know, once. A fetch of files or tiles leaves a
    folder .fetch, which spares the next one that, and the card comes when all files are there.

    Args:
        source: Where the dataset is published.
        destination: The folder that it comes to.
        files: Names of files, or patterns such as *.parquet; * stands for slashes too. Empty, and no tiles:
            all files.
        tiles: Names of tiles, or patterns such as *_T33UUP, whose shards are fetched beside those files.
        aws_credentials: The name of an AwsCredentials block, saved on the page Blocks. Empty: an instance
            role, or whatever else boto3 finds.
    """
    bucket, target = open_bucket(source, aws_credentials, SourceError), folder(destination)
    with hold(target, "destination", flow_run.name or "fetch"):
        edition = look(bucket)
        chosen = choose_files(edition.card, files, tiles)
        landing = Landing(target, edition)
        missing = compare(chosen, landing)
        left = landing.left(missing)
        for file in missing:
            fetch_file(bucket, file, landing)
        whole = finish(landing)
    return {"destination": str(target), "files": len(chosen), "bytes_fetched": left, "whole": whole}
