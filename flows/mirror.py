"""Mirror: the files of a record in a bucket of one's own, where `prepare` can read them."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from bigearthnet.source.download import Mirror
from bigearthnet.source.parallel import Connections
from bigearthnet.work.space import require_space
from bigearthnet.work.workspace import folder
from flows.fields import BucketUrl, ConnectionsAtMost, Credentials, RecordSource, WorkFolder
from tasks.check import check_destination
from tasks.connect import open_record, open_store
from tasks.record import copy_to_mirror, resolve


@flow(name="mirror")
def mirror(
    source: RecordSource,
    destination: BucketUrl,
    *,
    connections: ConnectionsAtMost = 2,
    work_dir: WorkFolder = "~/bigearthnet/work",
    aws_credentials: Credentials = "",
) -> dict[str, Any]:
    """Copy the archives and metadata files of a record into a bucket, where prepare can read them.

    An interrupted run is continued by the next one, on any machine. Files that are there and right are not
    sent again, and no archive is stored on this machine.

    Args:
        source: Zenodo record id, URL or DOI; URL of a record's JSON; or folder or s3://bucket/prefix that
            holds the archives. The record of BigEarthNet v2 is 10891137.
        destination: Where to copy them, with nothing else in it. It can then be the source of prepare.
        connections: Connections over which a large file is read at a time, 1 to 4. Where the server limits
            them, fewer are used.
        work_dir: Folder for up to 512 MiB that are on their way over several connections.
        aws_credentials: An AwsCredentials block, for S3. Empty: an instance role or your AWS configuration.
    """
    store, at_most = open_store(destination, aws_credentials), Connections(connections, folder(work_dir))
    with store.lock(flow_run.name or "mirror"):
        opened = open_record(source, aws_credentials)
        record = resolve(opened)
        check_destination(store)
        if opened.folder is None:
            waiting = max(at_most.room(file.size) for file in record.files)
            require_space(at_most.folder, waiting, "bytes on their way", "or use one connection")
        target = Mirror(store, at_most)
        files = sorted(
            record.files, key=lambda file: file.size
        )  # what is complete is read again by a later run
        sent = sum(copy_to_mirror(file, opened, target) for file in files)
        target.finish(record)
        get_run_logger().info("%s: holds the record, and can be the source of prepare", store.url)
    return {"destination": store.url, "files": len(record.files), "bytes_sent": sent}
