"""Make presigned links. No link crosses the border of a task: results may be stored and shown."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from bigearthnet.dataset.links import Link, life_of, links_as_markdown, saved_as, utc, write_links
from bigearthnet.store.s3 import S3Store
from tasks import policy

_NAMES_LOGGED = 10


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """What was asked for: the files, how long the links last, and where they go."""

    names: tuple[str, ...]
    minutes: int
    download_name: str
    links_file: Path
    show_in_ui: bool


@task(name="share", task_run_name="share files of {store.url}", **policy.TRANSFER)
def share_files(store: S3Store, request: LinkRequest) -> datetime:
    """Write links to the files into a file that its owner alone can read; returns when they end."""
    logger, names = get_run_logger(), request.names
    links = [
        Link(name, store.presign(name, request.minutes, saved_as(name, names, request.download_name)))
        for name in names
    ]
    life = life_of(links, store.credentials_end())
    write_links(request.links_file, store.url, links, life.ends_at)
    if request.show_in_ui:
        text = links_as_markdown(store.url, links, life.ends_at)
        create_markdown_artifact(text, key="links", description=f"Links until {utc(life.ends_at)}")
    shown = ", ".join(names[:_NAMES_LOGGED]) + (", ..." if len(names) > _NAMES_LOGGED else "")
    logger.info("%s links, valid until %s: %s", len(links), utc(life.ends_at), shown)
    logger.info("The links are in %s, which only its owner can read.", request.links_file)
    if life.warning:
        logger.warning(life.warning)
    return life.ends_at
