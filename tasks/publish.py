"""Put the dataset together and let it take its place."""

from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task

from bigearthnet import publish as publishing
from bigearthnet.card import CARD, Card
from bigearthnet.describe import Making, describe, digest
from bigearthnet.metadata import Metadata
from bigearthnet.progress import human_bytes
from bigearthnet.publish import StagedTile
from bigearthnet.workspace import Workspace


@task(name="publish", task_run_name="publish to {destination}", persist_result=False)
def publish(
    making: Making,
    tiles: Sequence[StagedTile],
    metadata: Metadata | None,
    destination: Path,
    workspace: Workspace,
) -> Card:
    """Stage everything beside the destination's files, then swap; nothing if it is published already."""
    logger = get_run_logger()
    published = publishing.is_published(destination, digest(making), workspace.digests)
    if published is not None:
        logger.info("%s: published already and intact, nothing written", destination)
        return published
    staging = publishing.begin_staging(destination)
    full = [tile for tile in tiles if tile.made.patches]
    logger.info("Joining the shards of %s tiles", len(full))
    files = publishing.stage_zips(full, staging)
    manifest, statistics = publishing.stage_manifest(full, metadata, staging)
    files.append(manifest)
    files.append(publishing.stage_preview(full, making.rendering.mask_classes, staging))
    files.extend(publishing.stage_shards(full, staging))
    card = describe(making, statistics, files)
    publishing.commit(card, staging, destination, workspace.digests)
    for file in files[:4]:
        logger.info("%s: %s", file.name, human_bytes(file.size))
    logger.info("%s: published, %s written last", destination, CARD)
    return card
