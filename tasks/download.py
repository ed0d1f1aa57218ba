"""Bring the record's files to this machine."""

from prefect import get_run_logger, task

from bigearthnet.source import LocalFile, RecordFile, Source, ensure_local, find_local
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.heartbeat import byte_progress


@task(name="download", task_run_name="download {file.name}", **policy.TRANSFER)
def download(file: RecordFile, source: Source, work: Workspace) -> LocalFile:
    """Download a file, going on where an earlier run ended; a file that is there and verified stays."""
    logger = get_run_logger()
    there = find_local(source, file, work)
    if there is not None:
        logger.info("%s: already there, md5 %s", file.name, there.md5)
        return there
    doing = "hashing" if source.folder is not None else "downloading"
    local = ensure_local(source, file, work, byte_progress(f"{doing} {file.name}", file.size))
    logger.info("%s: %s (%s)", file.name, local.verification, local.md5)
    return local
