"""Read the archives, a tile at a time."""

from pathlib import Path

from prefect import task

from bigearthnet.archive import Bundles, Extractor, TileRequest
from tasks.heartbeat import still_running


@task(name="extract", task_run_name="extract {request.tile}", persist_result=False)
def extract(extractor: Extractor, request: TileRequest, folder: Path) -> Bundles:
    """Write a tile's bundles, reading on from the end of the last tile.

    A task a tile over one open reader, not a generator task: Prefect writes the results of tasks that are
    submitted while a generator task runs only at its end. No retries: a stream cannot go back, and over the
    network it goes on by itself.
    """
    with still_running(f"reading the archives up to {request.tile}"):
        return extractor.extract(request, folder)
