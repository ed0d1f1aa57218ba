"""Subset: chosen patches of a published dataset as a dataset of their own."""

from time import monotonic, process_time
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from bigearthnet.dataset.jobs import converted_patches
from bigearthnet.dataset.report import Effort
from bigearthnet.options import Packaging, SubsetSelection
from bigearthnet.store import FolderStore
from bigearthnet.work.workspace import Workspace, folder
from flows import fields
from tasks.connect import open_destination, open_store, require_apart, scratch_folders
from tasks.freshness import read_published
from tasks.publish import publish_dataset, report
from tasks.subset import choose, copy_tiles


@flow(name="subset")
def subset(
    source: fields.OriginalUrl,
    destination: fields.DatasetUrl,
    *,
    selection: fields.PatchesOfDataset = SubsetSelection(),  # noqa: B008 - frozen
    mask_classes: fields.MasksOfSubset = "unchanged",
    packaging: fields.MoreFormats = Packaging(),  # noqa: B008 - frozen
    work_dir: fields.WorkFolder = "~/bigearthnet/work",
    aws_credentials: fields.Credentials = "",
) -> dict[str, Any]:
    """Copy chosen patches of a published dataset to another place, as a dataset with its own card.

    Images are copied as they are, and so are masks, unless other mask classes are chosen. An interrupted run
    continues where it stopped.

    Args:
        source: Where the dataset is published.
        destination: Where the subset is published. An earlier dataset stays until the new one is complete.
        selection: Which patches to copy.
        mask_classes: unchanged: as in the dataset. Masks of clc and clc_l3 can become any other form.
        packaging: More formats to publish the patches in.
        work_dir: Folder for temporary files.
        aws_credentials: An AwsCredentials block, for S3. Empty: an instance role or your AWS configuration.
    """
    wall, cpu = monotonic(), process_time()
    work = Workspace(folder(work_dir))
    original, run = open_store(source, aws_credentials), flow_run.name or "subset"
    store = open_destination(destination, aws_credentials, work)
    require_apart(original, store)
    with FolderStore(work.root).lock(run), store.lock(run) as lock, scratch_folders(work):
        todo = choose(read_published(original), original, selection, mask_classes, packaging, store, work)
        tiles = copy_tiles(todo, work)
        card = publish_dataset(todo.publication(tiles), todo.cache, lock)
        copied = converted_patches(todo.jobs, tiles)
        report(card, store, Effort(monotonic() - wall, process_time() - cpu, copied, "copied"))
    return {"destination": store.url, "patches": card.counts.patches, "splits": dict(card.counts.splits)}
