"""Bring a published dataset out of a bucket to a folder."""

from prefect import get_run_logger, task

from bigearthnet.dataset.card import CARD, PublishedFile
from bigearthnet.dataset.fetch import Edition, Landing
from bigearthnet.progress import human_bytes
from bigearthnet.store.s3.fetch import bring, read_edition
from bigearthnet.store.s3.objects import Bucket
from tasks import policy
from tasks.download import reporting


@task(
    name="look",
    task_run_name="look at {bucket.place}",
    **policy.PATIENT,
)
def look(bucket: Bucket) -> Edition:
    """Read the card of the dataset that is published in a bucket. Not cached: it is what it is now."""
    edition = read_edition(bucket)
    counts, files = edition.card.counts, edition.card.files
    get_run_logger().info(
        "%s: %s patches of %s tiles, %s files of %s",
        *(bucket.place, f"{counts.patches:,}", counts.tiles, len(files)),
        human_bytes(sum(file.size for file in files)),
    )
    return edition


@task(name="compare", task_run_name="compare with {landing.folder}", persist_result=False)
def compare(files: tuple[PublishedFile, ...], landing: Landing) -> tuple[PublishedFile, ...]:
    """Find out which files are to be fetched, and make sure that there is room for them."""
    landing.begin()
    missing = landing.missing(files)
    get_run_logger().info(
        "%s: %s of %s files are there already, %s to fetch",
        *(landing.folder, len(files) - len(missing), len(files), human_bytes(landing.left(missing))),
    )
    landing.require_room(missing)
    return missing


@task(
    name="fetch file",
    task_run_name="fetch {file.name}",
    **policy.PATIENT,
)
def fetch_file(bucket: Bucket, file: PublishedFile, landing: Landing) -> None:
    """Fetch a file, going on where an earlier try ended, and let it take its place."""
    report = reporting(f"fetching {file.name}", file.size)
    bring(bucket, file, landing.part(file), on_bytes=report)
    landing.place(file)
    get_run_logger().info("%s: %s, SHA-256 as in the card", file.name, human_bytes(file.size))


@task(name="finish", task_run_name="finish {landing.folder}", persist_result=False)
def finish(landing: Landing) -> bool:
    """Let the card take its place if all that it names is there; returns whether it is."""
    whole = landing.finish()
    if whole:
        get_run_logger().info("%s: holds the whole dataset, %s written last", landing.folder, CARD)
    else:
        get_run_logger().info(
            "%s: holds a part of the dataset; %s comes when all is there", landing.folder, CARD
        )
    return whole
