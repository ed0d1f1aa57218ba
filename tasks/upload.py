"""Take what was made of a tile out of the work folder."""

import time

from prefect import get_run_logger, task

from bigearthnet.dataset.destination import Destination
from bigearthnet.plan.jobs import Done, Job, Work
from bigearthnet.progress import human_bytes
from tasks import policy
from tasks.pulse import pulse


@task(
    name="upload",
    task_run_name="upload {job.tile.tile}",
    **policy.PATIENT,
)
def _upload(job: Job, done: Done, work: Work, destination: Destination) -> None:
    """Bring the files of a tile to the destination; what counts as done there needs no cache key."""
    began = time.monotonic()
    with pulse(f"Uploading {job.tile.tile}"):
        destination.keep(job, done, work)
    size = sum(file.size for file in (done.made.images, done.made.masks, done.made.rows))
    seconds = time.monotonic() - began
    get_run_logger().info("%s: %s uploaded, %.1f s", done.made.tile, human_bytes(size), seconds)


def keep(job: Job, done: Done, work: Work, destination: Destination) -> None:
    """Let the destination have a tile; a task only where that means to send it."""
    if destination.folder is None and job.key not in work.kept:
        _upload(job, done, work, destination)
    else:
        destination.keep(job, done, work)
