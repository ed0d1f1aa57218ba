"""Prepare: from the record of BigEarthNet v2 to a published dataset."""

from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from bigearthnet.describe import Making, require_few_rejected
from bigearthnet.lock import hold
from bigearthnet.names import ZENODO_RECORD
from bigearthnet.outline import check_folders
from bigearthnet.parameters import Rendering, Selection, Transfer
from bigearthnet.report import Stopwatch
from bigearthnet.workspace import Workspace, folder
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
    source: str = ZENODO_RECORD,
    destination: str = "~/bigearthnet/dataset",
    selection: Selection = Selection(),  # noqa: B008 - frozen
    rendering: Rendering = Rendering(),  # noqa: B008 - frozen
    transfer: Transfer = "keep",
    max_rejected: Annotated[int, Field(ge=0)] = 0,
    work_dir: str = "~/bigearthnet/work",
) -> dict[str, Any]:
    """Turn BigEarthNet v2 into zips of RGB and mask PNGs, with a manifest and a dataset card.

    Args:
        source: A Zenodo record id, its URL or DOI, the URL of a record's JSON, a folder that holds the
            archives, or `sample` for the embedded sample.
        destination: The folder that the dataset is published in.
        selection: Which patches to prepare.
        rendering: How reflectances become RGB, and reference maps masks.
        transfer: keep: the archives stay in the work folder and are used again. stream: the images' archive
            is never on the disk, and is read only as far as needed.
        max_rejected: How many bad patches may be left out before the run fails.
        work_dir: The folder for archives and everything that later runs need not do again.
    """
    watch = Stopwatch()
    workspace, target = Workspace(folder(work_dir)), folder(destination)
    check_folders(workspace.root, target)
    run = flow_run.name or "prepare"
    with hold(workspace.root, "work folder", run), hold(target, "destination", run):
        record = resolve(source, workspace)
        known = survey(record, selection, transfer, workspace)
        work = divide(known, rendering, workspace)
        announce(known, work, workspace, target)
        tiles = make_tiles(known, work, workspace)
        making = Making(known.source, selection, rendering, known.plan.patches, tiles)
        require_few_rejected(making, max_rejected)
        card = publish(making, work.staged(tiles, workspace), known.metadata, target, workspace)
        effort = watch.effort(work.fresh_patches(tiles))
        report(card, target, effort)
    return {
        "destination": str(target),
        "patches": card.counts.patches,
        "rejected": card.counts.rejected,
        "cpu_seconds": round(effort.cpu_seconds, 1),
    }
