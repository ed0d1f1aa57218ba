"""Places that hold named files: folders, and prefixes in S3 buckets."""

from bigearthnet.store.base import Lock, Partial, Piece, Range, Staged, Store, StoredFile
from bigearthnet.store.folder import FolderStore
from bigearthnet.store.reader import ResumingReader
from bigearthnet.store.s3_url import names_bucket, parse_s3_url

__all__ = [
    "FolderStore",
    "Lock",
    "Partial",
    "Piece",
    "Range",
    "ResumingReader",
    "Staged",
    "Store",
    "StoredFile",
    "names_bucket",
    "parse_s3_url",
]
