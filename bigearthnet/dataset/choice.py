"""Which files of a published dataset are meant: by name, by pattern, or by the tile they are of."""

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from bigearthnet.dataset.card import Card, PublishedFile
from bigearthnet.dataset.publish import SHARD_FOLDERS
from bigearthnet.errors import SelectionError
from bigearthnet.names import is_tile

_TILES_TOLD = 3


def choose_files(card: Card, files: Collection[str], tiles: Collection[str]) -> tuple[PublishedFile, ...]:
    """The files that `files` names, and the shards of the tiles that `tiles` names; without both, all.

    Args:
        card: of the dataset, which is not among its files.
        files: names as in the card, or patterns, whose `*` stands for slashes too.
        tiles: names of tiles, or patterns.

    Returns:
        The files, in the order of the card.

    Raises:
        SelectionError: a name or pattern matches nothing; says what there is.
    """
    if not files and not tiles:
        return card.files
    names = [file.name for file in card.files]
    _require(files, names, names, "files")
    _require(tiles, [tile for name in names if (tile := tile_of(name))], names, "tiles")
    return tuple(
        file
        for file in card.files
        if _matches(file.name, files) or ((tile := tile_of(file.name)) and _matches(tile, tiles))
    )


def choose_names(names: Collection[str], files: Collection[str]) -> list[str]:
    """Those of the names that `files` means: names as well, or patterns, whose `*` stands for slashes too.

    Raises:
        SelectionError: a name or pattern matches nothing; says what there is.
    """
    _require(files, names, names, "files")
    return [name for name in names if _matches(name, files)]


def tile_of(name: str) -> str | None:
    """The tile that a published file is a shard of; None if it is none."""
    path = PurePosixPath(name)
    is_shard = str(path.parent) in SHARD_FOLDERS.values() and path.suffix == ".zip" and is_tile(path.stem)
    return path.stem if is_shard else None


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _require(patterns: Iterable[str], known: Collection[str], names: Collection[str], what: str) -> None:
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in known)]
    if unknown:
        raise SelectionError(
            f"expected {what} of the dataset, found none for {', '.join(map(repr, unknown))}; "
            f"choose among {_told(names)}"
        )


def _told(names: Collection[str]) -> str:
    """What there is, in a line."""
    others = [name for name in names if tile_of(name) is None]
    tiles = sorted({tile for name in names if (tile := tile_of(name))})
    if not tiles:
        return ", ".join(others)
    shards = [f"{folder}/<tile>.zip" for folder in SHARD_FOLDERS.values()]
    some = ", ".join(tiles[:_TILES_TOLD]) + (", ..." if len(tiles) > _TILES_TOLD else "")
    return f"{', '.join(others + shards)} of {len(tiles)} tiles ({some})"
