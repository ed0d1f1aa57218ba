"""Reading archives: tar, zstd, and the tile bundles that are extracted from them."""

from bigearthnet.archive.bundle import (
    Bundles,
    Cells,
    Extractor,
    Index,
    PatchFiles,
    TileRequest,
    cell_of,
    index_archive,
    patch_files,
)
from bigearthnet.archive.reader import ArchiveReader, Readable, Wanted, decompress, plain

__all__ = [
    "ArchiveReader",
    "Bundles",
    "Cells",
    "Extractor",
    "Index",
    "PatchFiles",
    "Readable",
    "TileRequest",
    "Wanted",
    "cell_of",
    "decompress",
    "index_archive",
    "patch_files",
    "plain",
]
