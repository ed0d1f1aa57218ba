"""Compare a published dataset with its record."""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset import Published, find_published, freshness, require_published
from bigearthnet.dataset.report import escape
from bigearthnet.progress import counted, human_bytes
from bigearthnet.source.local import find_local
from bigearthnet.source.opening import Source
from bigearthnet.source.record import Record
from bigearthnet.store import Store
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.heartbeat import still_running


@task(name="look up", task_run_name="look up {store.url}", **policy.TRANSFER)
def look_up(store: Store) -> Published | None:
    """Read the card of a published dataset, and check its files; None if there is none."""
    with still_running(f"checking the files in {store.url}"):
        published = find_published(store)
    if published is not None:
        _log(published, store)
    return published


@task(name="look up", task_run_name="look up {store.url}", **policy.TRANSFER)
def read_published(store: Store) -> Published:
    """Read the card of a published dataset that is to be copied or shared."""
    published = require_published(store)
    _log(published, store)
    return published


@task(name="compare", task_run_name="compare {store.url}", **policy.TRANSFER)
def compare(
    record: Record, source: Source, published: Published, store: Store, work: Workspace
) -> list[freshness.Finding]:
    """Compare a dataset with its record, and show what differs."""
    md5s = {}
    for file in record.files:
        local = None if file.md5 else find_local(source, file, work)
        md5s[file.name] = local.file.md5 if local is not None else file.md5
    findings = freshness.compare_with_record(record, md5s, published)
    decision, text = freshness.decision(findings), freshness.comparison_markdown(findings, store.url)
    get_run_logger().info(decision)
    create_markdown_artifact(text, key="sync", description=escape(decision))
    return findings


def _log(published: Published, store: Store) -> None:
    counts, files = published.card.counts, published.card.files
    get_run_logger().info(
        "%s: %s of %s, %s",
        *(store.url, counted(counts.patches, "patch"), counted(counts.tiles, "tile")),
        human_bytes(sum(file.size for file in files)),
    )
