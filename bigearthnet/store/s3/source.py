"""A record's files in a bucket: a mirror, which says in `record.json` whose they are, or just archives."""

import json
from dataclasses import replace
from itertools import islice
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigearthnet.source.old.record import ARCHIVES, RECORD_FILES, Record, RecordFile, listed, missing_archives
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Stored

RECORD: Final = "record.json"
"""Of a mirror; written last."""
NOTES: Final = ".mirror/"
"""What a mirror under way knows of its files; without `record.json` they tell that it is not whole."""

_NAMES_LOOKED_AT: Final = 1000


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    name: str
    size: int = Field(ge=0)
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None


class _Document(BaseModel):
    """What stands in `record.json`."""

    model_config = ConfigDict(strict=True, extra="forbid")
    kind: Literal["zenodo", "folder"]
    record_id: str
    version: str
    title: str
    files: list[_File]


def is_place(source: str) -> bool:
    """Whether a source is a place in a bucket, well-formed or not."""
    return source.lower().startswith("s3://")


def read_bucket(bucket: Bucket) -> Record:
    """Take the files of a dataset that lie in a bucket for a record.

    Those of a mirror are the record that was mirrored, but for their locations. Others are what a folder
    is: both archives, and the metadata files if they are there, of which no md5 is known.

    Raises:
        SourceError: (the bucket's `refusal`) an archive is not there, or a mirror is not whole.
        TransferError: the server does not answer.
    """
    record = read_mirror(bucket)
    if record is None:
        return _read_archives(bucket)
    return replace(record, files=tuple(_as_mirrored(file, bucket) for file in record.files))


def read_mirror(bucket: Bucket) -> Record | None:
    """The record of a whole mirror, None where there is none; its objects are not looked at.

    Raises:
        SourceError, DestinationError: (the bucket's `refusal`) its `record.json` is none of ours.
        TransferError: the server does not answer.
    """
    data = bucket.read(RECORD)
    return None if data is None else _parse(data, bucket)


def dump_record(record: Record) -> bytes:
    """What `record.json` says of a record: all but where it is; the same bytes for the same record."""
    document = _Document(
        kind=record.kind,
        record_id=record.record_id,
        version=record.version,
        title=record.title,
        files=[_File(name=file.name, size=file.size, md5=file.md5) for file in record.files],
    )
    return json.dumps(document.model_dump(), indent=1, ensure_ascii=False).encode() + b"\n"


def _parse(data: bytes, bucket: Bucket) -> Record:
    place = bucket.place
    advice = "run the mirror again, or remove it if it is of something else"
    try:
        found = _Document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise bucket.refusal(
            f"expected the record of a mirror in {place.url(RECORD)}, "
            f"found at {where}: {first['msg']}; {advice}"
        ) from None
    names = [file.name for file in found.files]
    if missing_archives(names) or not set(names) <= set(RECORD_FILES) or len(set(names)) < len(names):
        raise bucket.refusal(
            f"expected {place.url(RECORD)} to name {' and '.join(ARCHIVES)} and at most the metadata files, "
            f"each once, found {listed(names)}; {advice}"
        )
    files = tuple(RecordFile(file.name, file.size, file.md5, place.url(file.name)) for file in found.files)
    return Record(found.kind, found.record_id, found.version, found.title, files)


def _read_archives(bucket: Bucket) -> Record:
    note = next(bucket.listing(NOTES), None)
    if note is not None:
        raise bucket.refusal(
            f"expected a whole mirror in {bucket.place}, found one that is not finished ({note.name}); "
            "run the mirror again, to its end"
        )
    heads = {name: bucket.head(name) for name in RECORD_FILES}
    files = tuple(_as_found(found, bucket) for found in heads.values() if found is not None)
    missing = missing_archives([file.name for file in files])
    if missing:
        names = [found.name for found in islice(bucket.listing(), _NAMES_LOOKED_AT)]
        raise bucket.refusal(
            f"expected {' and '.join(missing)} in {bucket.place}, found {listed(names)}; "
            "put the archives there with the flow mirror, or under the names they have on Zenodo"
        )
    return Record("folder", "", "", "", files)


def _as_mirrored(file: RecordFile, bucket: Bucket) -> RecordFile:
    """A file of a mirror, after a look at it; where no md5 tells its edition, its ETag does."""
    found = bucket.head(file.name)
    if found is None or found.size != file.size:
        raise bucket.refusal(
            f"expected {file.location} of {file.size} bytes as {RECORD} there says, found "
            f"{'no such object' if found is None else f'{found.size}'}; run the mirror again"
        )
    return file if file.md5 else replace(file, etag=found.etag)


def _as_found(found: Stored, bucket: Bucket) -> RecordFile:
    return RecordFile(found.name, found.size, None, bucket.place.url(found.name), found.etag)
