"""Put the dataset together, publish it, and report what was made."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset import CARD, PREVIEW, Card
from bigearthnet.dataset.layout import QUALITY, QUALITY_SHEET
from bigearthnet.dataset.publish import Publication, publish
from bigearthnet.dataset.report import Effort, report_markdown, summary
from bigearthnet.dataset.tiles import TileCache
from bigearthnet.progress import human_bytes
from bigearthnet.store import Lock, Store
from tasks import policy
from tasks.heartbeat import still_running


@task(name="publish", task_run_name="publish to {cache.store.url}", **policy.TRANSFER)
def publish_dataset(what: Publication, cache: TileCache, lock: Lock) -> Card:
    """Put everything together beside what is published, then replace it; skipped if nothing differs."""
    logger = get_run_logger()
    with still_running(f"publishing to {cache.store.url}"):
        card = publish(what, cache, lock)
    if cache.published is not None and card is cache.published.card:
        logger.info("%s: published already, nothing was written", cache.store.url)
        return card
    files = [f"{file.name} ({human_bytes(file.size)})" for file in card.files if "/" not in file.name]
    for name in what.recipe.packaging.formats:
        sizes = [file.size for file in card.files if file.name.startswith(f"{name}/")]
        files.append(f"{len(sizes)} files in {name}/ ({human_bytes(sum(sizes))})")
    logger.info("Published %s and %s", ", ".join(files), CARD)
    return card


@task(name="report", task_run_name="report", persist_result=False)
def report(card: Card, store: Store, effort: Effort) -> None:
    """Log a summary, and show a report with the preview on the run's page."""
    get_run_logger().info(summary(card, store.url, effort))
    preview, quality, sheet = (store.read(name) or b"" for name in (PREVIEW, QUALITY, QUALITY_SHEET))
    text = report_markdown(card, store.url, effort, preview, quality, sheet)
    create_markdown_artifact(text, key="report", description="What was made")
