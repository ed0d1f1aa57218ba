"""Prepare: from the record of BigEarthNet v2 to a published dataset."""

from time import monotonic, process_time
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from bigearthnet.dataset.build import require_few_rejected
from bigearthnet.dataset.jobs import converted_patches
from bigearthnet.dataset.report import Effort
from bigearthnet.names import ZENODO_RECORD
from bigearthnet.options import Packaging, Rendering, Selection
from bigearthnet.source.parallel import Connections
from bigearthnet.store import FolderStore
from bigearthnet.work.workspace import Workspace, folder
from flows import fields
from tasks.check import check, was_made_there
from tasks.cluster import connected
from tasks.connect import Opened, open_destination, open_record, scratch_folders
from tasks.convert import CONVERTERS
from tasks.publish import publish_dataset, report
from tasks.record import resolve
from tasks.survey import survey
from tasks.tiles import make_tiles


@flow(
    name="prepare",
    task_runner=ThreadPoolTaskRunner(max_workers=CONVERTERS),  # type: ignore[arg-type]  # invariant in its futures
)
def prepare(
    destination: fields.DatasetUrl = "~/bigearthnet/dataset",
    *,
    source: fields.RecordSource = ZENODO_RECORD,
    selection: fields.Patches = Selection(),  # noqa: B008 - frozen
    rendering: fields.Pixels = Rendering(),  # noqa: B008 - frozen
    packaging: fields.MoreFormats = Packaging(),  # noqa: B008 - frozen
    transfer: fields.Archives = "keep",
    connections: fields.ConnectionsAtMost = 2,
    keep_bundles: fields.KeepBundles = False,
    runner: fields.Converters = "threads",
    dask_scheduler: fields.DaskScheduler = "",
    max_rejected: fields.MaxRejected = 0,
    work_dir: fields.WorkFolder = "~/bigearthnet/work",
    aws_credentials: fields.Credentials = "",
) -> dict[str, Any]:
    """Convert BigEarthNet v2 to zips of RGB and mask PNGs, with a manifest and a dataset card.

    What a published dataset or an interrupted run already has is reused.

    Args:
        destination: Where the dataset is published. An earlier dataset stays until the new one is complete.
        source: Zenodo record id, URL or DOI; URL of a record's JSON; folder or s3://bucket/prefix that holds
            the archives; or sample, for the embedded sample.
        selection: Which patches to prepare.
        rendering: How reflectance becomes RGB, and reference maps become masks.
        packaging: More formats to publish the dataset in, beside its zips.
        transfer: keep: store the images' archive (63 GB) in the work folder, for later runs. stream: read it
            over the network without storing it, only as far as needed.
        connections: Connections over which a large file is read at a time, 1 to 4. Where the server limits
            them, fewer are used.
        keep_bundles: Keep what is read of the archives in the destination, compressed (about 45 GB for all
            patches). A later run with another rendering starts from it, without the images' archive.
        runner: threads: convert on this machine. dask: convert on the workers of a Dask cluster, which share
            the destination with this machine.
        dask_scheduler: For dask: address of the scheduler. Empty: workers on this machine.
        max_rejected: Number of bad patches that may be left out before the run fails.
        work_dir: Folder for archives and temporary files.
        aws_credentials: An AwsCredentials block, for S3. Empty: an instance role or your AWS configuration.
    """
    wall, cpu = monotonic(), process_time()
    work = Workspace(folder(work_dir))
    store, run = open_destination(destination, aws_credentials, work), flow_run.name or "prepare"
    with (
        FolderStore(work.root).lock(run),
        store.lock(run) as lock,
        scratch_folders(work),
        connected(runner, dask_scheduler, aws_credentials, work) as cluster,
    ):
        record_source = open_record(source, aws_credentials, work)
        opened = Opened(record_source, store, work, Connections(connections, work.root))
        record = resolve(opened.source)
        check(record, opened, transfer, joins=not was_made_there(store, selection, rendering, packaging))
        known = survey(record, opened, selection, rendering, packaging, transfer)
        todo, tiles = make_tiles(known, cluster, keep_bundles=keep_bundles)
        require_few_rejected(tiles, known.plan.patches, max_rejected)
        card = publish_dataset(todo.publication(tiles), todo.cache, lock)
        converted = converted_patches(todo.jobs, tiles)
        effort = Effort(monotonic() - wall, process_time() - cpu, converted)
        report(card, store, effort)
    return {
        "destination": store.url,
        "patches": card.counts.patches,
        "rejected": card.counts.rejected,
        "cpu_seconds": round(effort.cpu_seconds, 1),
    }
