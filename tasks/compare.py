"""See whether what is published is what it should be."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset import freshness as sync
from bigearthnet.dataset.destination import Destination
from bigearthnet.dataset.freshness import Comparison
from bigearthnet.options import Rendering, Selection
from bigearthnet.source.old.local import held
from bigearthnet.source.old.record import Record
from bigearthnet.source.old.zenodo import latest_url, record_url
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.pulse import pulse


@task(
    name="latest",
    task_run_name="latest version of {source}",
    **policy.PATIENT,
)
def latest(source: str) -> str:
    """The latest version of a source: of a record what Zenodo says, of anything else itself."""
    url = record_url(source)
    return source if url is None else latest_url(policy.http(), url)


@task(
    name="compare",
    task_run_name="compare {destination}",
    **policy.PATIENT,
)
def compare(
    record: Record, destination: Destination, selection: Selection, rendering: Rendering, workspace: Workspace
) -> Comparison:
    """Compare the dataset with its source and the parameters, and say what was found."""
    logger = get_run_logger()
    card = destination.card()
    with pulse(f"Looking at what is published in {destination}"):
        missing = destination.missing(card) if card is not None else []
    md5s = {file.name: file.md5 or _known_md5(file.name, record, workspace) for file in record.files}
    found = sync.compare(record, md5s, (selection, rendering), card, missing)
    for one in found.findings:
        logger.info("%s: published %s, now %s", one.what, one.published, one.now)
    logger.info(found.decision)
    create_markdown_artifact(sync.markdown(found, str(destination)), key="sync", description=found.decision)
    return found


def _known_md5(name: str, record: Record, workspace: Workspace) -> str | None:
    """The md5 of a file of a folder, where it did not change since it was last read."""
    holding = held(record.require(name), workspace)
    return None if holding is None else holding.md5
