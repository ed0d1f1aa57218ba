"""Look up the record: which files there are, how large, with which md5s."""

from prefect import get_run_logger, task

from bigearthnet.progress import human_bytes
from bigearthnet.source import Record, Source
from tasks import policy


@task(name="resolve", task_run_name="resolve {source}", **policy.TRANSFER)
def resolve(source: Source) -> Record:
    """Look up the record as it is now."""
    record = source.record()
    files = ", ".join(f"{file.name} ({human_bytes(file.size)})" for file in record.files)
    get_run_logger().info("%s: %s", source, files)
    return record
