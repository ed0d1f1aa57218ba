"""Show what was made."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset import PREVIEW, Card
from bigearthnet.dataset.report import Effort, report_markdown, summary
from bigearthnet.store import Store


@task(name="report", task_run_name="report", persist_result=False)
def report(card: Card, store: Store, effort: Effort) -> None:
    """Log a summary, and show a report with the preview on the run's page."""
    get_run_logger().info(summary(card, store.url, effort))
    text = report_markdown(card, store.url, effort, store.read(PREVIEW) or b"")
    create_markdown_artifact(text, key="report", description="What was made")
