"""Copy a published dataset to a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import get_run_logger, task

from bigearthnet.dataset import CARD, Published, copies
from bigearthnet.dataset.card import PublishedFile, TileEntry
from bigearthnet.dataset.published import local_manifest, tile_rows
from bigearthnet.plan.recipe import KINDS
from bigearthnet.progress import counted, human_bytes
from bigearthnet.store import FolderStore, Partial, Store
from bigearthnet.work.space import require_space
from tasks import policy
from tasks.heartbeat import byte_progress, still_running


@task(name="compare", task_run_name="compare {target.url}", persist_result=False)
def find_missing(files: Sequence[PublishedFile], target: FolderStore) -> tuple[PublishedFile, ...]:
    """Find out which files have to be fetched, and check that there is room for them."""
    with still_running(f"checking the files in {target.url}"):
        missing = copies.missing_files(files, target)
    there, size = len(files) - len(missing), sum(file.size for file in missing)
    logger = get_run_logger()
    logger.info("%s of %s already there, %s to fetch", there, counted(len(files), "file"), human_bytes(size))
    require_space(target.folder, size, "the files to fetch", "or fetch fewer files")
    return missing


@task(name="fetch file", task_run_name="fetch {file.name}", **policy.TRANSFER)
def fetch_file(file: PublishedFile, source: Store, published: Published, partial: Partial) -> None:
    """Fetch a file, going on where an earlier run ended."""
    on_bytes = byte_progress(f"fetching {file.name}", file.size)
    copies.copy_file(file, source, published, partial, on_bytes)
    get_run_logger().info("%s: %s, SHA-256 as in the card", file.name, human_bytes(file.size))


@task(name="fetch tile", task_run_name="fetch {entry.tile}", **policy.TRANSFER)
def fetch_tile(entry: TileEntry, source: Store, published: Published, target: Store, scratch: Path) -> None:
    """Fetch the images and masks of a tile, each as a zip."""
    rows = tile_rows(local_manifest(published, source, scratch), published.card, entry.tile)
    with still_running(f"fetching {entry.tile}"):
        for kind in KINDS:
            stored = copies.copy_tile(kind, entry, rows, source, published, target)
            get_run_logger().info("%s: %s", copies.tile_zip(kind, entry.tile), human_bytes(stored.size))


@task(name="finish", task_run_name="finish {target.url}", persist_result=False)
def finish_fetch(published: Published, arrived: Mapping[str, Partial], target: Store) -> bool:
    """Make the files visible, and write the card if all that it names is there."""
    whole = copies.finish(published, arrived, target)
    state = f"the whole dataset, with {CARD}" if whole else f"a part of the dataset, without {CARD}"
    get_run_logger().info("%s: holds %s", target.url, state)
    return whole
