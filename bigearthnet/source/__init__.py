"""Records and their bytes: from Zenodo, a folder or a bucket."""

from bigearthnet.source.download import FetchedFile, fetch_file
from bigearthnet.source.http import Http, safe_url
from bigearthnet.source.local import LocalFile, bytes_to_download, ensure_local, find_local
from bigearthnet.source.mirroring import Mirror
from bigearthnet.source.opening import Source, open_source
from bigearthnet.source.record import ARCHIVES, RECORD_FILES, Record, RecordFile, Verification
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.stream import Mark, Stream
from bigearthnet.store.transfer import OnBytes

__all__ = [
    "ARCHIVES",
    "RECORD_FILES",
    "FetchedFile",
    "Http",
    "LocalFile",
    "Mark",
    "Mirror",
    "OnBytes",
    "Record",
    "RecordFile",
    "Source",
    "StoredSource",
    "Stream",
    "Verification",
    "bytes_to_download",
    "ensure_local",
    "fetch_file",
    "find_local",
    "open_source",
    "safe_url",
]
