"""Sync: prepare a dataset again where its source, the choices or what is published have changed."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from bigearthnet.names import ZENODO_RECORD
from bigearthnet.options import Rendering, Selection
from bigearthnet.work.workspace import Workspace, folder
from flows.form import (
    Archives,
    Credentials,
    DatasetPlace,
    Patches,
    Pixels,
    RecordSource,
    Rejects,
    WorkFolder,
)
from flows.prepare import prepare
from tasks.buckets import open_destination
from tasks.compare import compare, latest
from tasks.resolve import resolve

UP_TO_DATE = "Up to date"
"""Name of the state of a run that found nothing to do."""


@flow(name="sync", flow_run_name="sync {destination} with {source}")
def sync(
    source: RecordSource = ZENODO_RECORD,
    destination: DatasetPlace = "~/bigearthnet/dataset",
    selection: Patches = Selection(),  # noqa: B008 - frozen
    rendering: Pixels = Rendering(),  # noqa: B008 - frozen
    transfer: Archives = "stream",
    max_rejected: Rejects = 0,
    work_dir: WorkFolder = "~/bigearthnet/work",
    aws_credentials: Credentials = "",
) -> dict[str, Any] | State[Any]:
    """Keep a dataset as its source is: seconds where nothing has changed, else only what is missing is made.

    Args:
        source: A Zenodo record id, its URL or DOI (always the latest version of it), the URL of a record's
            JSON, a folder or s3://bucket/prefix that holds the archives, or sample for the embedded sample.
        destination: Where the dataset is published. What is there stays as it is until the new one is whole.
        selection: Which patches to prepare.
        rendering: How reflectances become RGB, and reference maps masks.
        transfer: keep: the archives (64 GB on Zenodo) stay in the work folder and are used again. stream:
            the images' archive is never on the disk, and is read only as far as needed.
        max_rejected: How many bad patches may be left out before the run fails.
        work_dir: The folder for archives and everything that later runs need not do again.
        aws_credentials: For places in a bucket: the name of an AwsCredentials block, saved on the page
            Blocks. Empty: an instance role, or whatever else boto3 finds.
    """
    workspace = Workspace(folder(work_dir))
    newest = latest(source)
    record = resolve(newest, workspace, aws_credentials)
    target = open_destination(destination, aws_credentials, workspace)
    found = compare(record, target, selection, rendering, workspace)
    if found.up_to_date:
        return Completed(name=UP_TO_DATE, message=f"{found.decision} in {target}")
    done: dict[str, Any] = prepare(
        source=newest,
        destination=destination,
        selection=selection,
        rendering=rendering,
        transfer=transfer,
        max_rejected=max_rejected,
        work_dir=work_dir,
        aws_credentials=aws_credentials,
    )
    return done
