"""Read the archives, a tile at a time."""

from pathlib import Path

from prefect import task

from bigearthnet.archive.bundle import Bundles
from bigearthnet.plan.selection import TilePlan
from bigearthnet.tile.extract import Extractor
from tasks.pulse import pulse


@task(name="extract", task_run_name="extract {tile.tile}", persist_result=False)
def extract(extractor: Extractor, tile: TilePlan, folder: Path) -> Bundles:
    """Write a tile's bundles, reading on where the tile before ended.

    A task a tile over one open reader: no generator task, whose open transaction would keep the results
    of the tiles converted meanwhile from being written. No retries: a reader cannot go back, and over the
    network it is patient by itself.
    """
    with pulse(f"Reading on to {tile.tile}"):
        return extractor.extract(tile, folder)
