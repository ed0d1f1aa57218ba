"""Put the record's files into a bucket."""

from bigearthnet.source.old.record import RecordFile
from bigearthnet.store.s3.mirror import Mirror, md5_of
from prefect import get_run_logger, task

from bigearthnet.progress import human_bytes
from tasks import policy
from tasks.download import reporting
from tasks.remote import remote


@task(
    name="put",
    task_run_name="put {file.name}",
    **policy.PATIENT,
)
def put(file: RecordFile, mirror: Mirror, aws_credentials: str) -> None:
    """Have a file in the mirror, going on where an earlier try or run ended; one that is right stays.

    What is there is known by the bucket itself, not by Prefect's cache, which other machines do not share.
    """
    logger = get_run_logger()
    md5 = md5_of(file, reporting(f"reading {file.name}", file.size))
    before = mirror.sent
    sends = mirror.put(
        file, md5, remote(aws_credentials), lambda doing: reporting(f"{doing} {file.name}", file.size)
    )
    if sends:
        logger.info("%s: there, %s sent, md5 %s", file.name, human_bytes(mirror.sent - before), md5)
    else:
        logger.info("%s: already there, md5 %s", file.name, md5)
