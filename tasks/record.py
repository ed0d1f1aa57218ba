"""Look up a record, and bring its files to this machine or into a mirror."""

from prefect import get_run_logger, task

from bigearthnet.progress import human_bytes
from bigearthnet.source.download import Mirror
from bigearthnet.source.local import LocalFile, ensure_local, find_local
from bigearthnet.source.opening import Source
from bigearthnet.source.parallel import Connections
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.heartbeat import byte_progress


@task(name="resolve", task_run_name="resolve {source}", **policy.TRANSFER)
def resolve(source: Source) -> Record:
    """Look up the record as it is now: which files there are, how large, with which md5s."""
    record = source.record()
    files = ", ".join(f"{file.name} ({human_bytes(file.size)})" for file in record.files)
    get_run_logger().info("%s: %s", source, files)
    return record


@task(name="download", task_run_name="download {file.name}", **policy.TRANSFER)
def download(file: RecordFile, source: Source, work: Workspace, connections: Connections) -> LocalFile:
    """Download a file, going on where an earlier run ended; a file that is there and verified stays."""
    logger = get_run_logger()
    there = find_local(source, file, work)
    if there is not None:
        logger.info("%s: already there, md5 %s", file.name, there.file.md5)
        return there
    doing = "hashing" if source.folder is not None else "downloading"
    on_bytes = byte_progress(f"{doing} {file.name}", file.size)
    local = ensure_local(source, file, work, on_bytes, connections)
    logger.info("%s: %s (%s)", file.name, local.file.verification, local.file.md5)
    return local


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
