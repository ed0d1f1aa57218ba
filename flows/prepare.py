"""Prepare: from the record of BigEarthNet v2 to a published dataset."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from bigearthnet.dataset.build import require_few_rejected
from bigearthnet.dataset.jobs import converted_patches, plan_jobs
from bigearthnet.dataset.publish import zip_digests
from bigearthnet.dataset.report import Stopwatch
from bigearthnet.names import ZENODO_RECORD
from bigearthnet.options import Rendering, Selection
from bigearthnet.store import FolderStore
from bigearthnet.work.workspace import Workspace, folder
from flows.fields import (
    Archives,
    Credentials,
    DatasetUrl,
    MaxRejected,
    Patches,
    Pixels,
    RecordSource,
    WorkFolder,
)
from tasks.connect import Opened, open_destination, open_record
from tasks.convert import CONVERTERS
from tasks.publish import publish
from tasks.report import report
from tasks.resolve import resolve
from tasks.survey import announce, find_finished, survey
from tasks.tiles import make_tiles


@flow(
    name="prepare",
    task_runner=ThreadPoolTaskRunner(max_workers=CONVERTERS),  # type: ignore[arg-type]  # invariant in its futures
)
def prepare(
    source: RecordSource = ZENODO_RECORD,
    destination: DatasetUrl = "~/bigearthnet/dataset",
    selection: Patches = Selection(),  # noqa: B008 - frozen
    rendering: Pixels = Rendering(),  # noqa: B008 - frozen
    transfer: Archives = "keep",
    max_rejected: MaxRejected = 0,
    work_dir: WorkFolder = "~/bigearthnet/work",
    aws_credentials: Credentials = "",
) -> dict[str, Any]:
    """Convert BigEarthNet v2 to zips of RGB and mask PNGs, with a manifest and a dataset card.

    What a published dataset or an interrupted run already has is reused.

    Args:
        source: Zenodo record id, URL or DOI; URL of a record's JSON; folder or s3://bucket/prefix that holds
            the archives; or sample, for the embedded sample.
        destination: Where the dataset is published. An earlier dataset stays until the new one is complete.
        selection: Which patches to prepare.
        rendering: How reflectance becomes RGB, and reference maps become masks.
        transfer: keep: store the images' archive (63 GB) in the work folder, for later runs. stream: read it
            over the network without storing it, only as far as needed.
        max_rejected: Number of bad patches that may be left out before the run fails.
        work_dir: Folder for archives and temporary files.
        aws_credentials: Name of an AwsCredentials block, for S3. Empty: an instance role, or your AWS
            configuration.
    """
    watch = Stopwatch()
    work = Workspace(folder(work_dir))
    store, run = open_destination(destination, aws_credentials, work), flow_run.name or "prepare"
    with FolderStore(work.root).lock(run), store.lock(run) as lock:
        opened = Opened(open_record(source, aws_credentials, work), store, work)
        record = resolve(opened.source)
        known = survey(record, opened.source, selection, rendering, transfer, work)
        cache = find_finished(known, store, work)
        jobs = plan_jobs(known.plan, known.recipe, cache)
        announce(known, jobs, cache, opened)
        digests = zip_digests(jobs, cache.published)
        tiles = make_tiles(known, jobs, cache, digests, opened)
        require_few_rejected(tiles, known.plan.patches, max_rejected)
        card = publish(known, tiles, digests, cache, lock, opened)
        effort = watch.effort(converted_patches(jobs, tiles))
        report(card, store, effort)
    return {
        "destination": store.url,
        "patches": card.counts.patches,
        "rejected": card.counts.rejected,
        "cpu_seconds": round(effort.cpu_seconds, 1),
    }
