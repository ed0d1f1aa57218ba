"""Make links to published files. No link crosses the border of a task, as no result may hold one."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bigearthnet.store.s3.fetch import find
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.share import (
    credentials_end,
    life_of,
    links_as_markdown,
    region_of,
    sign,
    utc,
    write_links,
)
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from tasks import policy
from tasks.buckets import s3_client

_NAMES_LOGGED = 10


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asks for: files with their sizes in bytes, for how long, and where the links go."""

    sizes: dict[str, int]
    minutes: int
    download_name: str
    links_file: Path
    show_in_ui: bool


@task(
    name="share",
    task_run_name="share files of {bucket.place}",
    **policy.PATIENT,
)
def share_files(bucket: Bucket, wish: Wish, aws_credentials: str) -> datetime:
    """Make links to the files, in a file and nowhere else if not asked for; returns when they end."""
    logger = get_run_logger()
    signing = Bucket(s3_client(aws_credentials, region=region_of(bucket)), bucket.place, bucket.refusal)
    for name, size in wish.sizes.items():
        find(signing, name, size)
    links = sign(signing, list(wish.sizes), wish.minutes, wish.download_name)
    life = life_of(links, credentials_end(signing.client))
    write_links(wish.links_file, bucket.place, links, life.ends_at)
    if wish.show_in_ui:
        text = links_as_markdown(bucket.place, links, life.ends_at)
        create_markdown_artifact(text, key="links", description=f"Links until {utc(life.ends_at)}")
    names = ", ".join(list(wish.sizes)[:_NAMES_LOGGED]) + (", ..." if len(wish.sizes) > _NAMES_LOGGED else "")
    logger.info("Links to %s files, until %s: %s", len(links), utc(life.ends_at), names)
    logger.info("The links are in %s, which its owner alone can read", wish.links_file)
    if life.warning:
        logger.warning(life.warning)
    return life.ends_at
