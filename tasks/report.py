"""Tell what was made."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset.card import Card
from bigearthnet.dataset.destination import Destination
from bigearthnet.dataset.publish import PREVIEW
from bigearthnet.dataset.report import Effort, summary
from bigearthnet.dataset.report import report as markdown


@task(name="report", task_run_name="report", persist_result=False)
def report(card: Card, destination: Destination, effort: Effort) -> None:
    """Put the report with the contact sheet beside the run, and a line of it into the log."""
    get_run_logger().info(summary(card, str(destination), effort))
    text = markdown(card, str(destination), effort, destination.read(PREVIEW))
    create_markdown_artifact(text, key="report", description="What was made")
