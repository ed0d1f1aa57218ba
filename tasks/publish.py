"""Put the dataset together and publish it."""

from collections.abc import Sequence
from shutil import rmtree

from prefect import get_run_logger, task

from bigearthnet.dataset import CARD, Card
from bigearthnet.dataset.publish import Publication, ZipDigest, is_published
from bigearthnet.dataset.publish import publish as publish_dataset
from bigearthnet.dataset.tiles import FinishedTile, TileCache
from bigearthnet.plan import Kind
from bigearthnet.progress import human_bytes
from bigearthnet.store import Lock
from tasks import policy
from tasks.connect import Opened
from tasks.heartbeat import still_running
from tasks.survey import Survey


@task(name="publish", task_run_name="publish to {opened.store.url}", **policy.TRANSFER)
def publish(
    known: Survey,
    tiles: Sequence[FinishedTile],
    digests: dict[Kind, ZipDigest],
    cache: TileCache,
    lock: Lock,
    opened: Opened,
) -> Card:
    """Put everything together beside what is published, then replace it; skipped if nothing differs."""
    logger, store, scratch = get_run_logger(), opened.store, opened.work.staging
    if cache.published is not None and is_published(cache.published, known.recipe, tiles):
        cache.clear()
        logger.info("%s: published already, nothing was written", store.url)
        return cache.published.card
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with still_running(f"publishing to {store.url}"):
            what = Publication(known.recipe, known.plan.patches, tiles, digests, known.metadata)
            card = publish_dataset(what, cache, store, lock, scratch)
    finally:
        rmtree(scratch, ignore_errors=True)
    files = ", ".join(f"{file.name} ({human_bytes(file.size)})" for file in card.files)
    logger.info("Published %s and %s", files, CARD)
    return card
