"""A record: the files of a dataset, with their sizes and md5s."""

import hashlib
import textwrap
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeVar

from pydantic import FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from bigearthnet.errors import SourceError, plain
from bigearthnet.names import IMAGES_ARCHIVE, MAPS_ARCHIVE, METADATA_FILES
from bigearthnet.options import Frozen

ARCHIVES: Final = (IMAGES_ARCHIVE, MAPS_ARCHIVE)
"""Files that every record must have."""
RECORD_FILES: Final = (*ARCHIVES, *METADATA_FILES)
"""Files of a record that are used; all others are ignored."""

DOCUMENT_BYTES: Final = 2 << 20
"""Size of the largest JSON document that is parsed: it can take a hundred times as much memory."""

Size = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
"""A number of bytes in a document."""

T = TypeVar("T")

Verification = Literal["md5 as in the record", "md5 computed, none to compare with", "not read to the end"]
"""How the md5 of a file in the dataset card was checked."""


class SourceFile(Frozen):
    """A file of a record that was read: size in bytes, md5 in hex, and how the md5 was verified."""

    name: str
    size: int
    md5: str
    verification: Verification


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file of a record; its md5 (hex) is None where the source states none."""

    name: Annotated[str, Field(pattern=f"^({'|'.join(RECORD_FILES)})$")]
    size: Size
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    location: str = field(default="", repr=False)  # URL or path; can hold a token
    etag: str = ""  # version of the file, if the source tells it

    @property
    def version(self) -> str:
        """The md5; if that is not known, a digest of place and version."""
        return self.md5 or hashlib.sha256(f"{self.location}\n{self.etag}".encode()).hexdigest()

    def used(self, md5: str, *, complete: bool = True) -> SourceFile:
        """Describe the file when it was read, to its end (`complete`) or not, and has this md5."""
        verification: Verification = "md5 as in the record" if complete else "not read to the end"
        if self.md5 is None:
            verification = "md5 computed, none to compare with"
        return SourceFile(name=self.name, size=self.size, md5=md5, verification=verification)


@dataclass(frozen=True, slots=True)
class Record:
    """The files of a dataset, and the version of it that they are."""

    kind: Literal["zenodo", "folder"]  # a folder: the files belong to no known record
    record_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")]  # of Zenodo; empty for a folder
    version: str  # can be empty, like the title
    title: str
    files: Annotated[tuple[RecordFile, ...], FailFast()]  # some `RECORD_FILES`, in that order; both archives

    def require(self, archive: str) -> RecordFile:
        """Return one of `ARCHIVES`."""
        return next(file for file in self.files if file.name == archive)


def require_names(names: Collection[str], place: str, advice: str) -> None:
    """Make sure that the files of a record are complete.

    Raises:
        SourceError: an archive is missing; the message names the place, and ends with the advice.
    """
    missing = [name for name in ARCHIVES if name not in names]
    if missing:
        shown = textwrap.shorten(", ".join(map(plain, names)), 300, placeholder=" ...") or "no files"
        raise SourceError(f"{place} has no {' and no '.join(missing)}; it has {shown}. {advice}")


def parse_json(form: TypeAdapter[T], data: bytes) -> T:
    """Parse a JSON document that others wrote.

    Raises:
        ValueError: it is too large, or not of that form; the message is the first thing that is wrong.
    """
    if len(data) > DOCUMENT_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, and at most {DOCUMENT_BYTES:,} are read")
    content = from_json(data)  # pydantic's own reading of JSON takes many times as much memory
    try:
        return form.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    raise ValueError(plain(f"{'.'.join(map(str, first['loc'])) or 'the beginning'}: {first['msg']}"))
