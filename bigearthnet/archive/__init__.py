"""Reading archives: tar, zstd, and the tile bundles that are extracted from them."""

from bigearthnet.archive.bundle import Bundles, Extractor, Index, TileRequest, index_archive
from bigearthnet.archive.reader import ArchiveReader, decompress

__all__ = [
    "ArchiveReader",
    "Bundles",
    "Extractor",
    "Index",
    "TileRequest",
    "decompress",
    "index_archive",
]
