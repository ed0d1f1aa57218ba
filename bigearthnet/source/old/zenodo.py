"""Records of Zenodo: from what a person writes to the record's files."""

import re
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from bigearthnet.errors import SourceError
from bigearthnet.source.old.answers import without_secrets
from bigearthnet.source.old.http import Http
from bigearthnet.source.old.record import RECORD_FILES, Record, RecordFile, listed, missing_archives

_ID = r"(?P<id>[0-9]+)"
_FORMS = (
    re.compile(_ID),
    re.compile(rf"https?://(?:www\.)?zenodo\.org/(?:api/)?records?/{_ID}(?:[/?#].*)?", re.IGNORECASE),
    re.compile(
        r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/|https?://(?:www\.)?zenodo\.org/doi/)?"
        rf"10\.5281/zenodo\.{_ID}(?:[?#].*)?",
        re.IGNORECASE,
    ),
)
_MD5 = re.compile(r"md5:([0-9a-fA-F]{32})")
_URL = re.compile(r"https?://[^/]", re.IGNORECASE)


class _Links(BaseModel):
    self: str


class _File(BaseModel):
    key: str
    size: int = Field(ge=0)
    checksum: str
    links: _Links


class _Metadata(BaseModel):
    version: str | None = None
    title: str | None = None


class _RecordLinks(BaseModel):
    latest: str | None = None


class _Document(BaseModel):
    """What is read of the JSON that Zenodo answers with for a record."""

    id: int | Annotated[str, StringConstraints(min_length=1)]
    metadata: _Metadata = _Metadata()
    files: list[_File]
    links: _RecordLinks = _RecordLinks()


def record_url(source: str) -> str | None:
    """The URL of a record's JSON.

    Args:
        source: an id, URL or DOI of a Zenodo record, or the URL of a record's JSON elsewhere.

    Returns:
        The URL, or None where the source is none of these, and so a folder.
    """
    source = source.strip()
    for form in _FORMS:
        if match := form.fullmatch(source):
            return f"https://zenodo.org/api/records/{match['id']}"
    return source if _URL.match(source) else None


def parse_record(document: bytes, url: str) -> Record:
    """Read the JSON of a record; files other than the four of BigEarthNet v2 are passed over.

    Args:
        document: JSON, as `GET https://zenodo.org/api/records/<id>` answers it.
        url: where it is from, for messages.

    Raises:
        SourceError: it is no record, or not one that holds both archives with their md5s.
    """
    place = without_secrets(url)
    found = _parse(document, place)
    for file in found.files:
        if "/" in file.key or "\\" in file.key:
            raise SourceError(
                f"expected plain file names in the record at {place}, found {file.key!r}; "
                "name a record of BigEarthNet v2"
            )
    files = tuple(_record_file(file, place) for file in found.files if file.key in RECORD_FILES)
    names = [file.name for file in files]
    missing = missing_archives(names)
    if missing or len(set(names)) < len(names):
        held = listed([file.key for file in found.files])
        raise SourceError(
            f"expected the record at {place} to hold {' and '.join(missing or names)} once, found {held}; "
            "name a record of BigEarthNet v2, such as 10891137"
        )
    about = found.metadata
    return Record("zenodo", str(found.id), about.version or "", about.title or "", files)


def fetch_record(http: Http, url: str) -> Record:
    """Ask for a record.

    Args:
        http: makes the requests.
        url: of the record's JSON, as `record_url` gives it.

    Raises:
        SourceError: there is no such record, or it is not one of BigEarthNet v2.
        TransferError: the other side did not answer.
    """
    return parse_record(http.document(url), url)


def latest_url(http: Http, url: str) -> str:
    """The URL of the JSON of a record's latest version; the record's own where it tells of no other.

    Args:
        http: makes the request.
        url: of the record's JSON.

    Raises:
        SourceError: there is no such record.
        TransferError: the other side did not answer.
    """
    latest = _parse(http.document(url), without_secrets(url)).links.latest
    return latest if latest is not None and _URL.match(latest) else url


def _parse(document: bytes, place: str) -> _Document:
    try:
        return _Document.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise SourceError(
            f"expected the JSON of a Zenodo record at {place}, found at {where}: {first['msg']}; "
            "name a record, as 10891137 or https://zenodo.org/records/10891137"
        ) from None


def _record_file(file: _File, place: str) -> RecordFile:
    match = _MD5.fullmatch(file.checksum)
    if match is None:
        raise SourceError(
            f"expected the checksum of {file.key} in the record at {place} as md5:<32 hexadecimal digits>, "
            f"found {file.checksum!r}; without its md5 the file cannot be checked"
        )
    if not _URL.match(file.links.self):
        raise SourceError(
            f"expected a link to {file.key} in the record at {place} over http or https, "
            f"found {file.links.self!r}; name a record on Zenodo"
        )
    return RecordFile(file.key, file.size, match[1].lower(), file.links.self)
