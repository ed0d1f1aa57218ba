"""Mirror: the record's files in a bucket of one's own, where `prepare` can read them."""

from typing import Any

from bigearthnet.store.s3.lock import hold
from bigearthnet.store.s3.mirror import open_mirror
from prefect import flow
from prefect.runtime import flow_run
from tasks.buckets import open_bucket

from flows.form import BucketPlace, Credentials, RecordSource
from tasks.mirror import put
from tasks.resolve import resolve


@flow(name="mirror", flow_run_name="mirror {source} in {destination}")
def mirror(
    source: RecordSource, destination: BucketPlace, aws_credentials: Credentials = ""
) -> dict[str, Any]:
    """Copy the record's archives and metadata files into a bucket, where prepare can read them.

    A run that ended early is gone on with by the next one, on any machine. What is there and right is not
    sent again, and nothing of the archives is ever on this machine's disk.

    Args:
        source: A Zenodo record id, its URL or DOI, the URL of a record's JSON, or a folder that holds the
            archives. The record of BigEarthNet v2 is 10891137.
        destination: Where the archives go, to be named as the source of prepare.
        aws_credentials: The name of an AwsCredentials block, saved on the page Blocks. Empty: an instance
            role, or whatever else boto3 finds.
    """
    bucket = open_bucket(destination, aws_credentials)
    with hold(bucket, flow_run.name or "mirror") as lease:
        record = resolve(source, None, aws_credentials)
        target = open_mirror(bucket, lease.check)
        for file in record.files:
            put(file, target, aws_credentials)
        target.finish(record)
    return {"destination": str(bucket.place), "files": len(record.files), "bytes_sent": target.sent}
