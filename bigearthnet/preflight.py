"""Checks that take seconds, before a run moves or converts anything. Each returns a line for the log."""

from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.names import IMAGES_ARCHIVE, IMAGES_ROOT
from bigearthnet.options import Transfer
from bigearthnet.progress import human_bytes
from bigearthnet.source.local import bytes_to_download, find_local, is_stored
from bigearthnet.source.opening import Source
from bigearthnet.source.record import Record
from bigearthnet.store import Store
from bigearthnet.work import space
from bigearthnet.work.workspace import Workspace

_FIRST_BYTES = 256 << 10  # one block of zstd has up to 128 KiB


def try_disk(record: Record, source: Source, work: Workspace, transfer: Transfer) -> str:
    """Make sure that the work folder has room for the record's files; raises SpaceError."""
    images = record.require(IMAGES_ARCHIVE)
    stored = [file for file in record.files if file != images or is_stored(images, source, transfer)]
    needed = sum(bytes_to_download(source, file, work) for file in stored)
    space.require_inodes(work.root)
    space.require_space(work.root, needed, "the record's files", "or use transfer: stream")
    free = human_bytes(space.free_bytes(work.root))
    return f"{work.root}: {human_bytes(needed)} of the record to be stored, {free} free"


def try_store(store: Store, *, joins: bool) -> str:
    """Write to a store as a run does, see `Store.try_out`; raises StoreError or SpaceError."""
    if store.folder is not None:
        space.require_inodes(store.folder)
    store.try_out(joins=joins)
    return f"{store.url} can be written" + (
        ", and its server joins parts" if joins and not store.folder else ""
    )


def try_source(record: Record, source: Source, work: Workspace) -> str:
    """Read the beginning of the images' archive.

    Raises:
        ArchiveError: it is not one.
        SourceError, TransferError, ChangedError: it cannot be read.
    """
    images, size = record.require(IMAGES_ARCHIVE), sum(file.size for file in record.files)
    local = find_local(source, images, work)
    with local.open() if local else source.open(images, 0, min(_FIRST_BYTES, images.size)) as reader:
        next(iter(ArchiveReader(decompress(reader), IMAGES_ROOT, images.name)), None)
    md5s = "md5s known" if all(file.md5 for file in record.files) else "md5s to be computed"
    return f"{source}: {len(record.files)} files, {human_bytes(size)}, {md5s}, {images.name} can be read"
