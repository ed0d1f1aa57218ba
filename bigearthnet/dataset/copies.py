"""Copy a published dataset, or files and tiles of it, to a folder."""

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial as bind
from io import BufferedReader

import pyarrow as pa

from bigearthnet.dataset.card import Card, PublishedFile, TileEntry
from bigearthnet.dataset.layout import ZIPS
from bigearthnet.dataset.published import Published, find_intact, find_published
from bigearthnet.dataset.replace import forget_old_files, replace_dataset
from bigearthnet.errors import ChecksumError, SelectionError
from bigearthnet.plan.recipe import Kind
from bigearthnet.progress import some
from bigearthnet.store import Partial, Store, StoredFile
from bigearthnet.store.transfer import OnBytes, complete
from bigearthnet.tile.rows import members
from bigearthnet.zips.format import local_header
from bigearthnet.zips.join import CentralDirectory


def choose(
    card: Card, files: Collection[str], tiles: Collection[str]
) -> tuple[list[PublishedFile], list[TileEntry]]:
    """Choose files and tiles by names or patterns; without both, all files.

    Raises:
        SelectionError: a name or pattern matches nothing.
    """
    if not files and not tiles:
        return list(card.files), []
    names = {file.name: file for file in card.files}
    entries = {entry.tile: entry for entry in card.tiles if entry.patches}
    return (
        [names[name] for name in matching(names, files, "files")],
        [entries[tile] for tile in matching(entries, tiles, "tiles")],
    )


def matching(names: Collection[str], patterns: Collection[str], what: str) -> list[str]:
    """Return the names that match any of the patterns, in their order.

    Raises:
        SelectionError: a pattern matches none.
    """
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if unknown:
        raise SelectionError(
            f"no {what} match {', '.join(unknown)}. The dataset has {len(names)} ({some(names)})."
        )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def missing_files(files: Sequence[PublishedFile], target: Store) -> tuple[PublishedFile, ...]:
    """Return the files that are not in the target, or differ there."""
    return tuple(file for file in files if find_intact(file, target) is None)


def copy_file(
    file: PublishedFile, source: Store, published: Published, partial: Partial, on_bytes: OnBytes
) -> None:
    """Copy a file into `partial`, going on where an earlier run ended.

    Raises:
        ChecksumError: it has another SHA-256 than the card says; nothing of it is kept.
        ChangedError: the dataset was published anew meanwhile.
    """
    found = published.intact[file.name]
    _, sha256 = complete(bind(source.open, found), file.size, partial, "sha256", on_bytes)
    if sha256 != file.sha256:
        partial.discard()
        raise ChecksumError(
            f"{source.url}/{file.name} arrived with SHA-256 {sha256}, but its card says {file.sha256}. "
            "It was removed. Run again."
        )


def finish(published: Published, arrived: Mapping[str, Partial], target: Store) -> bool:
    """Make complete files visible; the card is written last, if all that it names is there.

    Returns:
        True if the target now holds the whole dataset.
    """
    old = find_published(target)
    others = [file for file in published.card.files if file.name not in arrived]
    commits = [partial.commit for partial in arrived.values()]
    whole = not missing_files(others, target)
    same = old is not None and old.data == published.data
    if commits or (whole and not same):
        names = {file.name for file in published.card.files} if whole or same else arrived.keys()
        replace_dataset(target, commits, names, published.data if whole or same else None, old)
    if whole:
        forget_old_files(target)
    return whole


def damaged(member: str, source: Store) -> ChecksumError:
    """Return the error that a member is not the one that the manifest lists."""
    return ChecksumError(f"{member} in {source.url} is damaged. Publish the dataset again.")


def tile_zip(kind: Kind, tile: str) -> str:
    """Return the name of the zip of a tile's images or masks, relative to the target."""
    return f"tiles/{kind}/{tile}.zip"


def copy_tile(
    kind: Kind, entry: TileEntry, rows: pa.Table, source: Store, published: Published, target: Store
) -> StoredFile:
    """Copy a tile's images or masks as a zip of its own, checking each member's CRC-32 by its `rows`.

    Raises:
        ChecksumError: a member is not the one that the manifest lists; nothing of the zip is kept.
    """
    place, listed, directory = entry.shard(kind), members(rows, kind), CentralDirectory()
    end = directory.add(listed) + directory.end()
    size = directory.offset + len(end)
    zipped = source.open(published.intact[ZIPS[kind]], place.start, place.stop)

    def checked() -> Iterator[memoryview]:
        with BufferedReader(zipped) as reader:
            for name, length, crc32 in listed:
                header = local_header(name, length, crc32)
                member = reader.read(len(header) + length)
                if not member.startswith(header) or zlib.crc32(member[len(header) :]) != crc32:
                    raise damaged(name.decode(), source)
                yield memoryview(member)
        yield memoryview(end)

    partial = target.resume(tile_zip(kind, entry.tile), size, place.key)
    partial.discard()
    try:
        partial.append(checked())
    except ChecksumError:
        partial.discard()
        raise
    return partial.commit()
