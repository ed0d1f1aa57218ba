"""Copy the files of a record into a store."""

from prefect import get_run_logger, task

from bigearthnet.progress import human_bytes
from bigearthnet.source import Mirror, RecordFile, Source
from tasks import policy
from tasks.heartbeat import byte_progress


@task(name="copy", task_run_name="copy {file.name}", **policy.TRANSFER)
def copy_to_mirror(file: RecordFile, source: Source, mirror: Mirror) -> int:
    """Copy a file, going on where an earlier run ended; one that is there and right stays.

    Returns:
        Bytes that were received.
    """
    copied = mirror.put(source, file, byte_progress(f"copying {file.name}", file.size))
    done = f"copied {human_bytes(copied.received)}" if copied.received else "already there"
    get_run_logger().info("%s: %s, md5 %s", file.name, done, copied.md5)
    return copied.received
