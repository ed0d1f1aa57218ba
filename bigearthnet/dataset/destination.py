"""Where a dataset is published: what every kind of destination can do, and the folder."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bigearthnet.dataset import publish
from bigearthnet.dataset.card import Card, PublishedFile, read_card
from bigearthnet.dataset.describe import Making, describe, digest
from bigearthnet.dataset.publish import StagedTile
from bigearthnet.plan.jobs import Done, Job, Work
from bigearthnet.plan.metadata import Metadata
from bigearthnet.store import lock
from bigearthnet.work.workspace import Workspace

Say = Callable[[str], None]
"""Takes a line for the log."""


class Destination(Protocol):
    """Where a dataset is published; `str()` of it is what a person calls it."""

    @property
    def folder(self) -> Path | None:
        """Where on this machine's disks it is; None if it is elsewhere."""

    def hold(self, run: str) -> AbstractContextManager[None]:
        """Hold it until the block ends; see `lock.hold`."""

    def find(self, job: Job) -> Done | None:
        """What an earlier run made of a tile and left here."""

    def keep(self, job: Job, done: Done, work: Work) -> None:
        """Take what was made of the next tile, in the order of the jobs, out of the work folder."""

    def drop(self, work: Work) -> None:
        """Forget what was kept of a run's tiles: its source turned out to be wrong."""

    def publish(self, making: Making, work: Work, metadata: Metadata | None, say: Say) -> Card:
        """Publish what was made, all of it or nothing; write nothing if it is published already."""

    def card(self) -> Card | None:
        """The card of what is published, if anything is."""

    def missing(self, card: Card) -> list[PublishedFile]:
        """The files that a card names and that are not there, or are others."""

    def read(self, name: str) -> bytes:
        """The bytes of a small published file."""


class FolderDestination:
    """A dataset in a folder. Tiles stay in the work folder, where later runs find them."""

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        self.folder: Path | None = folder
        self._folder = folder
        self._workspace = workspace

    def __str__(self) -> str:
        return str(self._folder)

    def hold(self, run: str) -> AbstractContextManager[None]:
        """Hold the folder; see `lock.hold`."""
        return lock.hold(self._folder, "destination", run)

    def find(self, job: Job) -> Done | None:  # noqa: ARG002 - every destination is asked the same
        """Nothing: tiles are in the work folder."""
        return None

    def keep(self, job: Job, done: Done, work: Work) -> None:
        """Leave it in the work folder."""

    def drop(self, work: Work) -> None:
        """Nothing to forget."""

    def publish(self, making: Making, work: Work, metadata: Metadata | None, say: Say) -> Card:
        """Stage everything beside the folder's files, then swap."""
        published = self.card()
        if published is not None and published.digest == digest(making) and not self.missing(published):
            say(f"{self}: published already and intact, nothing written")
            return published
        full = [StagedTile(made, self._workspace.tile(job.key)) for job, made in work.full(making.tiles)]
        staging = publish.begin_staging(self._folder)
        say(f"Joining the shards of {len(full)} tiles")
        files = publish.stage_zips(full, staging)
        manifest, statistics = publish.stage_manifest(full, metadata, staging)
        files.append(manifest)
        files.append(publish.stage_preview(full, making.rendering.mask_classes, staging))
        files.extend(publish.stage_shards(full, staging))
        card = describe(making, statistics, files)
        publish.commit(card, staging, self._folder, self._workspace.digests)
        return card

    def card(self) -> Card | None:
        """The card in the folder."""
        return read_card(self._folder)

    def missing(self, card: Card) -> list[PublishedFile]:
        """The files of a card that are not in the folder; read where they changed since the last look."""
        return publish.missing(self._folder, card, self._workspace.digests)

    def read(self, name: str) -> bytes:
        """The bytes of a published file."""
        return (self._folder / name).read_bytes()
