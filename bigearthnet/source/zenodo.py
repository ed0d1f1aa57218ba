"""Records of Zenodo: ids, URLs and DOIs, and the JSON that describes a record."""

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Final, Self

from pydantic import AliasPath, BaseModel, FailFast, Field, TypeAdapter

from bigearthnet.errors import SourceError, plain
from bigearthnet.source.http import Http, require_same_host, safe_url
from bigearthnet.source.record import RECORD_FILES, Record, RecordFile, Size, parse_json, require_names
from bigearthnet.store.reader import ResumingReader

_ZENODO_URL: Final = r"https?://(?:www\.)?zenodo\.org/"
_DOI_PREFIX: Final = rf"(?:doi:\s*|https?://(?:dx\.)?doi\.org/|{_ZENODO_URL}doi/)?10\.5281/zenodo\."
_RECORD: Final = re.compile(
    rf"(?:{_ZENODO_URL}(?:api/)?records?/([0-9]+)(?:[/?#].*)?|(?:{_DOI_PREFIX})?([0-9]+)(?:[?#].*)?)",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"https?://[^/]", re.IGNORECASE)
_ADVICE: Final = "Choose a record of BigEarthNet v2, such as 10891137."


class _File(BaseModel):
    key: str
    size: Size
    checksum: str = Field(pattern=r"^md5:[0-9a-fA-F]{32}$")
    link: str = Field(validation_alias=AliasPath("links", "self"))


class _Document(BaseModel):
    """The parts that are used of the JSON of a record."""

    id: Size | Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    version: str | None = Field(None, validation_alias=AliasPath("metadata", "version"))
    title: str | None = Field(None, validation_alias=AliasPath("metadata", "title"))
    files: Annotated[list[_File], FailFast()]
    latest: str | None = Field(None, validation_alias=AliasPath("links", "latest"))


_DOCUMENT: Final = TypeAdapter(_Document)


@dataclass(frozen=True, slots=True)
class ZenodoSource:
    """A record of Zenodo, or of a server that describes records in the same way.

    Args:
        text: URL of the record's JSON; can hold a token.
        http: makes the requests.
    """

    text: str = field(repr=False)
    http: Http
    folder: ClassVar[None] = None
    seconds_a_request: ClassVar[float] = 1.2
    """Zenodo lets guests make 60 requests a minute; some are left for other programs."""

    def __str__(self) -> str:
        return safe_url(self.text)

    def record(self) -> Record:
        """Get the record."""
        return parse_record(self.http.document(self.text), self.text)

    def latest(self) -> Self:
        """Return the latest version of the record, which is itself where it names none."""
        latest = _parse(self.http.document(self.text), str(self)).latest
        if latest is None:
            return self
        require_same_host(self.text, latest, str(self))
        return type(self)(latest, self.http)

    def open(
        self, file: RecordFile, start: int = 0, stop: int | None = None, *, others: bool = False
    ) -> ResumingReader:
        """Open a file at a byte."""
        name = f"{file.name} from {safe_url(file.location)}"
        opener = partial(self.http.open_at, file, stop, others)
        return ResumingReader(opener, name, start, stop or file.size, sleep=self.http.sleep)


def record_url(text: str) -> str | None:
    """Return the URL of a record's JSON; None for what is no id, URL or DOI of a record, nor another URL."""
    text = text.strip()
    if match := _RECORD.fullmatch(text):
        return f"https://zenodo.org/api/records/{match[1] or match[2]}"
    return text if _URL.match(text) else None


def parse_record(document: bytes, url: str) -> Record:
    """Parse the JSON of a record, as Zenodo answers at `url`; other files than `RECORD_FILES` are ignored.

    Raises:
        SourceError: it is not a record, or not one that holds both archives with md5s on its own host.
    """
    place = safe_url(url)
    found = _parse(document, place)
    require_names([file.key for file in found.files], f"the record at {place}", _ADVICE)
    used = [file for name in RECORD_FILES for file in found.files if file.key == name]
    for file in used:
        require_same_host(url, file.link, f"the link to {file.key} in {place}")
    files = tuple(RecordFile(file.key, file.size, file.checksum[4:].lower(), file.link) for file in used)
    version, title = plain(found.version or ""), plain(found.title or "")
    return Record("zenodo", str(found.id), version, title, files)


def _parse(document: bytes, place: str) -> _Document:
    try:
        return parse_json(_DOCUMENT, document)
    except ValueError as error:
        raise SourceError(f"{place} is not the JSON of a record ({error}). {_ADVICE}") from None
