"""Have the record's files at hand."""

import time
from typing import cast
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from bigearthnet.progress import Progress
from bigearthnet.source.old.local import Holding, OnBytes, held, obtain
from bigearthnet.source.old.record import RecordFile
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.remote import remote


@task(
    name="download",
    task_run_name="download {file.name}",
    **policy.PATIENT,
)
def download(file: RecordFile, workspace: Workspace, aws_credentials: str) -> Holding:
    """Fetch a file, going on where an earlier try ended; one that is there and right stays.

    Its own memo, not Prefect's cache, knows what is there: a result would not notice a file that is gone.
    """
    logger = get_run_logger()
    holding = held(file, workspace)
    if holding is not None:
        logger.info("%s: already there, md5 %s", file.name, holding.md5)
        return holding
    doing = "reading" if file.is_local else "fetching"
    on_bytes = reporting(f"{doing} {file.name}", file.size)
    holding = obtain(remote(aws_credentials), file, workspace, on_bytes)
    logger.info("%s: %s", file.name, f"{holding.verification} ({holding.md5})")
    return holding


def reporting(what: str, size: int) -> OnBytes:
    """Report progress of `size` bytes as a log line and an artifact, about once a minute."""
    logger = get_run_logger()
    progress = Progress(what, size, time.monotonic)
    artifacts: list[UUID] = []

    def on_bytes(count: int) -> None:
        line = progress.advance(count)
        if line is None:
            return
        logger.info(line)
        if artifacts:
            update_progress_artifact(artifacts[0], progress=progress.percent, description=line)
        else:
            artifact = create_progress_artifact(progress=progress.percent, description=line)
            artifacts.append(cast(UUID, artifact))  # a coroutine only where there is an event loop

    return on_bytes
