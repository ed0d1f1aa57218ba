"""Records and their bytes: from Zenodo, a folder or a bucket."""

from bigearthnet.source.download import Mirror
from bigearthnet.source.local import LocalFile, bytes_to_download, ensure_local, find_local
from bigearthnet.source.opening import Source, open_source
from bigearthnet.source.record import RECORD_FILES, Record, RecordFile, SourceFile
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.stream import Mark, Stream

__all__ = [
    "RECORD_FILES",
    "LocalFile",
    "Mark",
    "Mirror",
    "Record",
    "RecordFile",
    "Source",
    "SourceFile",
    "StoredSource",
    "Stream",
    "bytes_to_download",
    "ensure_local",
    "find_local",
    "open_source",
]
