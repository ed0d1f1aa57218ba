"""Try at the start of a run what it will need."""

from prefect import get_run_logger, task

from bigearthnet import preflight
from bigearthnet.dataset import find_published
from bigearthnet.dataset.freshness import option_changes
from bigearthnet.dataset.layout import BUNDLES
from bigearthnet.options import Packaging, Rendering, Selection, Transfer
from bigearthnet.source.record import Record
from bigearthnet.store import Store
from bigearthnet.tile.selftest import check_installation
from tasks.connect import Opened
from tasks.heartbeat import still_running


@task(name="check", task_run_name="check {opened.store.url}", persist_result=False)
def check(record: Record, opened: Opened, transfer: Transfer, *, joins: bool) -> None:
    """Try everything that a run will need, in seconds; `joins` as of `Store.try_out`.

    Where bundles are kept, the images' archive may not be needed, so neither it nor room for it is tried.
    """
    source, store, work, logger = opened.source, opened.store, opened.work, get_run_logger()
    with still_running(f"checking {source} and {store.url}"):
        check_installation()
        kept = any(store.list(BUNDLES))
        room = preflight.try_disk(record, source, work, "stream" if kept else transfer)
        logger.info("installation correct; %s", room)
        written = preflight.try_store(store, joins=joins)
        logger.info("%s; %s", written, "bundles kept" if kept else preflight.try_source(record, source, work))


@task(name="check", task_run_name="check {store.url}", persist_result=False)
def check_destination(store: Store) -> None:
    """Try to write to the destination of a copy."""
    with still_running(f"checking {store.url}"):
        get_run_logger().info(preflight.try_store(store, joins=False))


def was_made_there(store: Store, selection: Selection, rendering: Rendering, packaging: Packaging) -> bool:
    """Return True if a store holds a dataset with the same options: its server has joined it before."""
    published = find_published(store, digests=False)
    return published is not None and not option_changes(published.card, selection, rendering, packaging)
