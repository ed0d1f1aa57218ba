"""Reading archives: tar, zstd and tile bundles."""

from bigearthnet.archive.bundle import (
    Bundles,
    Cells,
    Extractor,
    Index,
    TileRequest,
    index_archive,
    patch_files,
)
from bigearthnet.archive.reader import ArchiveReader, decompress, plain

__all__ = [
    "ArchiveReader",
    "Bundles",
    "Cells",
    "Extractor",
    "Index",
    "TileRequest",
    "decompress",
    "index_archive",
    "patch_files",
    "plain",
]
