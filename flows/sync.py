"""Sync: prepare a dataset again, as it was made, where its record has changed or files are missing."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from bigearthnet.dataset.freshness import decision, record_of, require_prepared
from bigearthnet.work.workspace import Workspace, folder
from flows.fields import (
    Archives,
    ConnectionsAtMost,
    Credentials,
    DatasetUrl,
    MaxRejected,
    RecordSource,
    WorkFolder,
)
from flows.prepare import prepare
from tasks.connect import open_destination, open_record
from tasks.freshness import compare, look_up
from tasks.record import resolve

UP_TO_DATE = "Up to date"
NO_DATASET = "No dataset"
"""Names of the states of runs that found nothing to do."""


@flow(name="sync")
def sync(
    destination: DatasetUrl = "~/bigearthnet/dataset",
    *,
    source: RecordSource = "",
    transfer: Archives = "stream",
    connections: ConnectionsAtMost = 2,
    max_rejected: MaxRejected = 0,
    work_dir: WorkFolder = "~/bigearthnet/work",
    aws_credentials: Credentials = "",
) -> dict[str, Any] | State[Any]:
    """Prepare a published dataset again where its record has a new version, or where files are missing.

    Selection, rendering and packaging stay as the dataset was made. Without changes it takes seconds; without
    a dataset it does nothing.

    Args:
        destination: Where the dataset is published.
        source: Where the archives are. Empty: the record on Zenodo that the dataset was made from. Needed for
            a dataset that was made from a folder or bucket.
        transfer: keep: store the images' archive (63 GB) in the work folder, for later runs. stream: read it
            over the network without storing it, only as far as needed.
        connections: Connections over which a large file is read at a time, 1 to 4. Where the server limits
            them, fewer are used.
        max_rejected: Number of bad patches that may be left out before the run fails.
        work_dir: Folder for archives and temporary files.
        aws_credentials: An AwsCredentials block, for S3. Empty: an instance role or your AWS configuration.
    """
    work = Workspace(folder(work_dir))
    store = open_destination(destination, aws_credentials, work)
    published = look_up(store)
    if published is None:
        return Completed(name=NO_DATASET, message=f"There is no dataset in {store.url}. Run prepare first.")
    require_prepared(published, store.url)
    newest = open_record(source or record_of(published.card), aws_credentials, work).latest()
    findings = compare(resolve(newest), newest, published, store, work)
    if not any(one.differs for one in findings):
        return Completed(name=UP_TO_DATE, message=decision(findings))
    done: dict[str, Any] = prepare(
        source=newest.text,
        destination=destination,
        selection=published.card.parameters.selection,
        rendering=published.card.parameters.rendering,
        packaging=published.card.parameters.packaging,
        transfer=transfer,
        connections=connections,
        max_rejected=max_rejected,
        work_dir=work_dir,
        aws_credentials=aws_credentials,
    )
    return done
