"""Fetch: a published dataset, or files and tiles of it, from a bucket to a folder."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run

from bigearthnet.dataset.copies import choose
from bigearthnet.store import FolderStore
from bigearthnet.work.workspace import folder
from flows.fields import Credentials, PublishedUrl, titled
from tasks.check import check_destination
from tasks.connect import open_store
from tasks.fetch import fetch_file, fetch_tile, find_missing, finish_fetch
from tasks.freshness import read_published


@flow(name="fetch")
def fetch(
    source: PublishedUrl,
    destination: Annotated[str, titled("Destination [folder]")],
    *,
    files: Annotated[tuple[str, ...], titled("Files")] = (),
    tiles: Annotated[tuple[str, ...], titled("Tiles")] = (),
    aws_credentials: Credentials = "",
) -> dict[str, Any]:
    """Copy a published dataset to a folder; an interrupted fetch goes on where it ended.

    Files that are there already stay, if their SHA-256 is that of the card.

    Args:
        source: Where the dataset is published.
        destination: Folder to copy to.
        files: Names of files, or patterns such as *.parquet. Empty, and no tiles: all files.
        tiles: Names of tiles, or patterns such as *_T33UUP; each becomes two zips in tiles/.
        aws_credentials: An AwsCredentials block, for S3. Empty: an instance role or your AWS configuration.
    """
    store, target = open_store(source, aws_credentials), FolderStore(folder(destination))
    with target.lock(flow_run.name or "fetch"), TemporaryDirectory() as scratch:
        published = read_published(store)
        chosen, entries = choose(published.card, files, tiles)
        check_destination(target)
        missing = find_missing(chosen, target) if chosen else ()
        arrived = {}
        for file in missing:
            arrived[file.name] = target.resume(file.name, file.size, file.sha256)
            fetch_file(file, store, published, arrived[file.name])
        for entry in entries:
            fetch_tile(entry, store, published, target, Path(scratch))
        whole = finish_fetch(published, arrived, target)
    return {"destination": target.url, "files": len(chosen), "tiles": len(entries), "whole": whole}
