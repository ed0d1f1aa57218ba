"""Records of Zenodo: ids, URLs and DOIs, and the JSON that describes a record."""

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AliasPath, BaseModel, Field, ValidationError

from bigearthnet.errors import SourceError
from bigearthnet.source.http import Http, require_same_host, safe_url
from bigearthnet.source.record import RECORD_FILES, Record, RecordFile, first_error, require_names
from bigearthnet.store.reader import ResumingReader

_ID = r"(?P<id>[0-9]+)"
_FORMS: Final = (
    re.compile(_ID),
    re.compile(rf"https?://(?:www\.)?zenodo\.org/(?:api/)?records?/{_ID}(?:[/?#].*)?", re.IGNORECASE),
    re.compile(
        r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/|https?://(?:www\.)?zenodo\.org/doi/)?"
        rf"10\.5281/zenodo\.{_ID}(?:[?#].*)?",
        re.IGNORECASE,
    ),
)
_MD5: Final = re.compile(r"md5:([0-9a-fA-F]{32})")
_URL: Final = re.compile(r"https?://[^/]", re.IGNORECASE)
_ADVICE: Final = "Choose a record of BigEarthNet v2, such as 10891137."


class _File(BaseModel):
    key: str
    size: int = Field(ge=0)
    checksum: str
    link: str = Field(validation_alias=AliasPath("links", "self"))


class _Document(BaseModel):
    """The parts that are used of the JSON of a record."""

    id: int | Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    version: str | None = Field(None, validation_alias=AliasPath("metadata", "version"))
    title: str | None = Field(None, validation_alias=AliasPath("metadata", "title"))
    files: list[_File]
    latest: str | None = Field(None, validation_alias=AliasPath("links", "latest"))


@dataclass(frozen=True, slots=True)
class ZenodoSource:
    """A record of Zenodo, or of a server that describes records in the same way.

    Args:
        url: of the record's JSON; can hold a token.
        http: makes the requests.
    """

    url: str = field(repr=False)
    http: Http

    @property
    def text(self) -> str:
        """The URL."""
        return self.url

    def __str__(self) -> str:
        return safe_url(self.url)

    def record(self) -> Record:
        """Get the record."""
        return parse_record(self.http.document(self.url), self.url)

    def latest(self) -> Self:
        """Return the latest version of the record, which is itself where it names none."""
        latest = _parse(self.http.document(self.url), str(self)).latest
        if latest is None:
            return self
        require_same_host(self.url, latest, str(self))
        return type(self)(latest, self.http)

    def open(self, file: RecordFile, start: int = 0, validator: str | None = None) -> ResumingReader:
        """Open a file at a byte."""
        name = f"{file.name} from {safe_url(file.location)}"
        opener, sleep = partial(self.http.open_at, file), self.http.sleep
        return ResumingReader(opener, name, start, file.size, validator=validator, sleep=sleep)

    def local_path(self, file: RecordFile) -> Path | None:  # noqa: ARG002 - of the protocol
        """Return None."""
        return None


def record_url(text: str) -> str | None:
    """Return the URL of a record's JSON.

    Args:
        text: id, URL or DOI of a Zenodo record, or the URL of a record's JSON elsewhere.

    Returns:
        The URL; None if the text is none of these.
    """
    text = text.strip()
    for form in _FORMS:
        if match := form.fullmatch(text):
            return f"https://zenodo.org/api/records/{match['id']}"
    return text if _URL.match(text) else None


def parse_record(document: bytes, url: str) -> Record:
    """Parse the JSON of a record; files other than those of `RECORD_FILES` are ignored.

    Args:
        document: as `GET https://zenodo.org/api/records/<id>` answers.
        url: where it comes from.

    Raises:
        SourceError: it is not a record, or not one that holds both archives with md5s on its own host.
    """
    place = safe_url(url)
    found = _parse(document, place)
    require_names([file.key for file in found.files], f"the record at {place}", _ADVICE)
    files = tuple(_record_file(file, url) for file in found.files if file.key in RECORD_FILES)
    version, title = (" ".join((text or "").split()) for text in (found.version, found.title))
    return Record("zenodo", str(found.id), version, title, files)


def _parse(document: bytes, place: str) -> _Document:
    try:
        return _Document.model_validate_json(document)
    except ValidationError as error:
        raise SourceError(f"{place} is not the JSON of a record ({first_error(error)}). {_ADVICE}") from None


def _record_file(file: _File, url: str) -> RecordFile:
    match = _MD5.fullmatch(file.checksum)
    if match is None:
        raise SourceError(
            f"the record at {safe_url(url)} states no md5 of {file.key} but {file.checksum!r}. Without it "
            "the file cannot be checked."
        )
    require_same_host(url, file.link, f"the link to {file.key} in {safe_url(url)}")
    return RecordFile(file.key, file.size, match[1].lower(), file.link)
