"""A record: the files of a dataset with their sizes and md5s, on Zenodo, in a bucket or in a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bigearthnet.errors import SourceError
from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE, METADATA_FILES

ARCHIVES = (IMAGES_ARCHIVE, MAPS_ARCHIVE)
"""The files without which there is nothing to convert."""
RECORD_FILES = (*ARCHIVES, *METADATA_FILES)
"""The files of a record that this package reads; it passes over all others."""


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file of a record."""

    name: str
    size: int
    """Bytes."""
    md5: str | None
    """Hexadecimal, lower case; None where the source promises none."""
    location: str
    """Its URL, `s3://bucket/key` of an object, or the absolute path of a local file."""
    etag: str | None = None
    """Of an object that no md5 is known of: the edition that is meant."""

    @property
    def is_object(self) -> bool:
        """Whether `location` is in a bucket."""
        return self.location.lower().startswith("s3://")

    @property
    def is_local(self) -> bool:
        """Whether `location` is a path."""
        return not self.location.lower().startswith(("http://", "https://", "s3://"))


@dataclass(frozen=True, slots=True)
class Record:
    """The files of a dataset, and which edition of it they are."""

    kind: Literal["zenodo", "folder"]
    record_id: str
    version: str
    title: str
    files: tuple[RecordFile, ...]

    def file(self, name: str) -> RecordFile | None:
        """The file called `name`, or None where the record has none."""
        return next((file for file in self.files if file.name == name), None)

    def require(self, name: str) -> RecordFile:
        """The file called `name`.

        Raises:
            SourceError: the record has no such file.
        """
        file = self.file(name)
        if file is None:
            source = f"record {self.record_id}" if self.record_id else "the source"
            held = listed([file.name for file in self.files])
            raise SourceError(f"expected {name} in {source}, found {held}; name a source that holds it")
        return file


def read_folder(folder: Path) -> Record:
    """Take the files of a dataset that lie in a folder for a record.

    Args:
        folder: holds both archives, and the metadata files if the person has them.

    Raises:
        SourceError: there is no such folder, or an archive is not in it.
    """
    if not folder.is_dir():
        raise SourceError(
            "expected a record id, URL, DOI, s3://bucket/prefix, or a folder that holds "
            f"{' and '.join(ARCHIVES)}, found no folder at {folder}"
        )
    paths = [folder.absolute() / name for name in RECORD_FILES]
    files = tuple(RecordFile(p.name, p.stat().st_size, None, str(p)) for p in paths if p.is_file())
    missing = missing_archives([file.name for file in files])
    if missing:
        held = listed(sorted(path.name for path in folder.iterdir()))
        raise SourceError(
            f"expected {' and '.join(missing)} in {folder}, found {held}; "
            "put the archives there under the names they have on Zenodo"
        )
    return Record("folder", "", "", "", files)


def missing_archives(names: list[str]) -> list[str]:
    """The archives that `names` lacks."""
    return [archive for archive in ARCHIVES if archive not in names]


def listed(names: list[str], most: int = 12) -> str:
    """Names as a person reads them in a message: all of a few, the first of many."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return ", ".join(names) or "no files"
