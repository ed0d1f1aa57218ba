"""Find the record: which files there are, how large, with which md5s."""

from pathlib import Path

from prefect import get_run_logger, task

from bigearthnet.errors import SourceError
from bigearthnet.progress import human_bytes
from bigearthnet.sample.archives import make_sample
from bigearthnet.source.old.answers import without_secrets
from bigearthnet.source.old.record import RECORD_FILES, Record, read_folder
from bigearthnet.source.old.zenodo import fetch_record, record_url
from bigearthnet.store.s3.source import is_place, read_bucket
from bigearthnet.work.workspace import Workspace
from tasks import policy
from tasks.remote import source_bucket

SAMPLE = "sample"


@task(
    name="resolve",
    task_run_name="resolve",
    **policy.PATIENT,
)
def resolve(source: str, workspace: Workspace | None, aws_credentials: str) -> Record:
    """Ask the source for its files. Not cached: a record is what it is now.

    Only the sample needs the workspace: it is made there.
    """
    logger = get_run_logger()
    if source == SAMPLE:
        record = _sample(workspace)
    elif (url := record_url(source)) is not None:
        logger.info("Asking %s for its files", without_secrets(url))
        record = fetch_record(policy.http(), url)
    elif is_place(source):
        logger.info("Asking %s for its files", without_secrets(source))
        record = read_bucket(source_bucket(source, aws_credentials))
    else:
        record = read_folder(Path(source).expanduser())
    for file in record.files:
        logger.info("%s: %s, md5 %s", file.name, human_bytes(file.size), file.md5 or "not stated")
    return record


def _sample(workspace: Workspace | None) -> Record:
    """The embedded sample as a folder, made once; one that a killed run began is made again."""
    if workspace is None:
        raise SourceError(
            "expected a source that is there, found 'sample', which is made in a work folder; "
            "prepare the sample first, then name the folder sample in its work folder"
        )
    if not all((workspace.sample / name).exists() for name in RECORD_FILES):
        make_sample(workspace.sample)
    return read_folder(workspace.sample)
