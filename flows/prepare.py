"""Prepare: from the record of BigEarthNet v2 to a published dataset."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from bigearthnet.dataset.describe import Making, require_few_rejected
from bigearthnet.dataset.report import Stopwatch
from bigearthnet.names import ZENODO_RECORD
from bigearthnet.options import Rendering, Selection
from bigearthnet.plan.estimate import check_folders
from bigearthnet.store.lock import hold
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
from tasks.buckets import open_destination
from tasks.convert import CONVERTERS
from tasks.publish import publish
from tasks.report import report
from tasks.resolve import resolve
from tasks.survey import announce, survey
from tasks.tiles import divide, make_tiles


@flow(
    name="prepare",
    flow_run_name="prepare {source} in {destination}",
    task_runner=ThreadPoolTaskRunner(max_workers=CONVERTERS),  # type: ignore[arg-type]  # invariant in its futures
)
def prepare(
    source: RecordSource = ZENODO_RECORD,
    destination: DatasetPlace = "~/bigearthnet/dataset",
    selection: Patches = Selection(),  # noqa: B008 - frozen
    rendering: Pixels = Rendering(),  # noqa: B008 - frozen
    transfer: Archives = "keep",
    max_rejected: Rejects = 0,
    work_dir: WorkFolder = "~/bigearthnet/work",
    aws_credentials: Credentials = "",
) -> dict[str, Any]:
    """Turn BigEarthNet v2 into zips of RGB and mask PNGs, with a manifest and a dataset card.

    Args:
        source: A Zenodo record id, its URL or DOI, the URL of a record's JSON, a folder or s3://bucket/prefix
            that holds the archives, or sample for the embedded sample.
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
    watch = Stopwatch()
    workspace = Workspace(folder(work_dir))
    target = open_destination(destination, aws_credentials, workspace)
    check_folders(workspace.root, target.folder)
    run = flow_run.name or "prepare"
    with hold(workspace.root, "work folder", run), target.hold(run):
        record = resolve(source, workspace, aws_credentials)
        known = survey(record, selection, transfer, workspace, aws_credentials)
        work = divide(known, rendering, target, workspace)
        announce(known, work, workspace, target)
        tiles = make_tiles(known, work, target, workspace)
        making = Making(known.source, selection, rendering, known.plan.patches, tiles)
        require_few_rejected(making, max_rejected)
        card = publish(making, work, known.metadata, target)
        effort = watch.effort(work.fresh_patches(tiles))
        report(card, target, effort)
    return {
        "destination": str(target),
        "patches": card.counts.patches,
        "rejected": card.counts.rejected,
        "cpu_seconds": round(effort.cpu_seconds, 1),
    }
