"""Make presigned links. No link crosses the border of a task: results may be stored and shown."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset import links
from bigearthnet.progress import counted, some
from bigearthnet.store.s3 import S3Store
from tasks import policy


@task(name="share", task_run_name="share files of {store.url}", **policy.TRANSFER)
def share_files(
    store: S3Store, names: Sequence[str], minutes: int, download_name: str, path: Path, show_in_ui: bool
) -> datetime:
    """Write links to the files into a file that its owner alone can read; returns when they end."""
    logger, signed_at = get_run_logger(), datetime.now(UTC).replace(microsecond=0)
    made = [
        links.Link(name, store.presign(name, minutes, links.saved_as(name, names, download_name)))
        for name in names
    ]
    asked_for, credentials_end = signed_at + timedelta(minutes=minutes), store.credentials_end()
    ends_at = min(asked_for, credentials_end or asked_for)
    until = links.utc(ends_at)
    links.write_links(path, store.url, made, ends_at)
    if show_in_ui:
        text = links.links_as_markdown(store.url, made, ends_at)
        create_markdown_artifact(text, key="links", description=f"Links until {until}")
    logger.info("%s, valid until %s: %s", counted(len(made), "link"), until, some(names, 10))
    logger.info("The links are in %s, which only its owner can read.", path)
    if warning := links.early_end(made, asked_for, credentials_end):
        logger.warning(warning)
    return ends_at
