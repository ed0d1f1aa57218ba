"""Put the dataset together and let it take its place."""

from prefect import get_run_logger, task

from bigearthnet.dataset.card import CARD, Card
from bigearthnet.dataset.describe import Making
from bigearthnet.dataset.destination import Destination
from bigearthnet.plan.jobs import Work
from bigearthnet.plan.metadata import Metadata
from bigearthnet.progress import human_bytes
from tasks import policy
from tasks.pulse import pulse


@task(
    name="publish",
    task_run_name="publish to {destination}",
    **policy.PATIENT,
)
def publish(making: Making, work: Work, metadata: Metadata | None, destination: Destination) -> Card:
    """Put everything together beside what is published, then swap; nothing if it is published already."""
    logger = get_run_logger()
    with pulse(f"Publishing to {destination}"):
        card = destination.publish(making, work, metadata, logger.info)
    for file in card.files[:4]:
        logger.info("%s: %s", file.name, human_bytes(file.size))
    logger.info("%s: published, with its %s", destination, CARD)
    return card
