"""The unit of work: a tile, and the key under which what is made of it is found again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from bigearthnet.dataset.card import Verification, digest_of, software
from bigearthnet.dataset.publish import is_intact
from bigearthnet.options import Rendering
from bigearthnet.plan.selection import Plan, TilePlan
from bigearthnet.source.old.stream import Mark
from bigearthnet.tile.convert import IMAGES_SHARD, MASKS_SHARD, ROWS_FILE, MadeTile
from bigearthnet.work.workspace import Workspace


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A tile to make. Equal content and parameters give an equal key, whenever and wherever."""

    tile: TilePlan
    key: str


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a job, and where the stream stood that it was made of, if it was one."""

    made: MadeTile
    mark: Mark | None


_DONE = TypeAdapter(Done)


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """All jobs of a run in the order of the archives, and what earlier runs did of them, by key.

    Attributes:
        jobs: a tile each.
        here: what of it is in the work folder.
        kept: what of it is kept at the destination.
        rendering: how they are rendered.
        images_md5: of the images' archive.
    """

    jobs: tuple[Job, ...]
    here: Mapping[str, Done]
    kept: Mapping[str, Done]
    rendering: Rendering
    images_md5: str

    @property
    def before(self) -> Mapping[str, Done]:
        """What earlier runs did, wherever it is."""
        return {**self.here, **self.kept}

    @property
    def missing(self) -> list[Job]:
        """The jobs that are left to do."""
        before = self.before
        return [job for job in self.jobs if job.key not in before]

    @property
    def marks(self) -> list[Mark]:
        """Where the streams stood that earlier runs read."""
        return [done.mark for done in self.before.values() if done.mark is not None]

    def full(self, tiles: Sequence[MadeTile]) -> list[tuple[Job, MadeTile]]:
        """The jobs with what was made of them, where any patch is left, in the order of the archives."""
        return [(job, tile) for job, tile in zip(self.jobs, tiles, strict=True) if tile.patches]

    def fresh_patches(self, tiles: Sequence[MadeTile]) -> int:
        """How many patches this run made itself."""
        before = self.before
        return sum(tile.patches for tile, job in zip(tiles, self.jobs, strict=True) if job.key not in before)


def jobs(
    plan: Plan, images_md5: str, maps_md5: str, verification: Verification, rendering: Rendering
) -> tuple[Job, ...]:
    """A job for each tile of the plan.

    What is known of the images' archive is part of the key, so that tiles from a stream that was never
    verified are not taken for verified ones.
    """
    source = [images_md5, maps_md5, verification, rendering.model_dump(mode="json"), software()]
    return tuple(Job(tile, f"{tile.tile}-{_digest(tile, source)}") for tile in plan.tiles)


def _digest(tile: TilePlan, source: list[Any]) -> str:
    patches = [tile.places.tobytes().hex(), tile.known.tobytes().hex(), tile.whole, tile.after]
    return digest_of(source, patches)[:24]


def pack(done: Done) -> dict[str, Any]:
    """What was done, as JSON can hold it."""
    return asdict(done)


def unpack(packed: object) -> Done:
    """The opposite of `pack`.

    Raises:
        pydantic.ValidationError: it was packed by another version, or is something else.
    """
    return _DONE.validate_python(packed)


def pack_json(done: Done) -> bytes:
    """What was done, as a document of its own."""
    return _DONE.dump_json(done)


def unpack_json(document: bytes) -> Done:
    """The opposite of `pack_json`.

    Raises:
        pydantic.ValidationError: it is something else.
    """
    return _DONE.validate_json(document)


def is_whole(made: MadeTile, key: str, workspace: Workspace) -> bool:
    """Whether everything that was made of a tile is still in the work folder, unchanged."""
    folder = workspace.tile(key)
    files = ((IMAGES_SHARD, made.images), (MASKS_SHARD, made.masks), (ROWS_FILE, made.rows))
    return all(is_intact(folder / name, file.size, file.sha256, workspace.digests) for name, file in files)
