"""Put the dataset together, publish it, and report what was made."""

from collections.abc import Sequence

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset import CARD, PREVIEW, Card
from bigearthnet.dataset.publish import Publication, publish
from bigearthnet.dataset.report import Effort, report_markdown, summary
from bigearthnet.dataset.tiles import FinishedTile
from bigearthnet.progress import human_bytes
from bigearthnet.store import Lock, Store
from tasks import policy
from tasks.heartbeat import still_running
from tasks.survey import Todo


@task(name="publish", task_run_name="publish to {todo.known.opened.store.url}", **policy.TRANSFER)
def publish_dataset(todo: Todo, tiles: Sequence[FinishedTile], lock: Lock) -> Card:
    """Put everything together beside what is published, then replace it; skipped if nothing differs."""
    known, cache, logger = todo.known, todo.cache, get_run_logger()
    what = Publication(known.recipe, known.plan.patches, tiles, todo.digests, known.metadata)
    with still_running(f"publishing to {cache.store.url}"):
        card = publish(what, cache, lock)
    if cache.published is not None and card is cache.published.card:
        logger.info("%s: published already, nothing was written", cache.store.url)
        return card
    files = ", ".join(f"{file.name} ({human_bytes(file.size)})" for file in card.files)
    logger.info("Published %s and %s", files, CARD)
    return card


@task(name="report", task_run_name="report", persist_result=False)
def report(card: Card, store: Store, effort: Effort) -> None:
    """Log a summary, and show a report with the preview on the run's page."""
    get_run_logger().info(summary(card, store.url, effort))
    text = report_markdown(card, store.url, effort, store.read(PREVIEW) or b"")
    create_markdown_artifact(text, key="report", description="What was made")
