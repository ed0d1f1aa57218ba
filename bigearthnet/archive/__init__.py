"""Reading archives: tar, zstd, and the tile bundles that are extracted from them."""

from bigearthnet.archive.bundle import Bundles, Index, PatchFiles, index_archive, patch_files
from bigearthnet.archive.reader import ArchiveReader, Readable, Wanted, decompress, plain

__all__ = [
    "ArchiveReader",
    "Bundles",
    "Index",
    "PatchFiles",
    "Readable",
    "Wanted",
    "decompress",
    "index_archive",
    "patch_files",
    "plain",
]
