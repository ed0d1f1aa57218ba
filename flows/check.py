"""Check: try what prepare needs, without preparing anything."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from bigearthnet.names import ZENODO_RECORD
from bigearthnet.store import FolderStore
from bigearthnet.work.workspace import Workspace, folder
from flows.fields import Archives, Credentials, DatasetUrl, RecordSource, WorkFolder
from tasks import check as checks
from tasks.connect import Opened, open_destination, open_record
from tasks.record import resolve


@flow(name="check")
def check(
    destination: DatasetUrl = "~/bigearthnet/dataset",
    *,
    source: RecordSource = ZENODO_RECORD,
    transfer: Archives = "keep",
    work_dir: WorkFolder = "~/bigearthnet/work",
    aws_credentials: Credentials = "",
) -> State[Any]:
    """Try in seconds what prepare needs: source, destination, disk, credentials and installation.

    Every run of prepare begins with the same checks. A bucket is sent 5 MiB, which are removed again.

    Args:
        destination: Where the dataset is to be published.
        source: Zenodo record id, URL or DOI; URL of a record's JSON; folder or s3://bucket/prefix that holds
            the archives; or sample, for the embedded sample.
        transfer: keep: the disk must have room for the images' archive (63 GB). stream: it need not.
        work_dir: Folder for archives and temporary files.
        aws_credentials: An AwsCredentials block, for S3. Empty: an instance role or your AWS configuration.
    """
    work = Workspace(folder(work_dir))
    store, run = open_destination(destination, aws_credentials, work), flow_run.name or "check"
    with FolderStore(work.root).lock(run), store.lock(run):
        opened = Opened(open_record(source, aws_credentials, work), store, work)
        checks.check(resolve(opened.source), opened, transfer, joins=True)
    return Completed(name="Ready", message=f"Ready to prepare {opened.source} into {store.url}.")
