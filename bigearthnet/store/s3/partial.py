"""A file that is sent to a bucket from front to back, over several runs if need be."""

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bigearthnet.store.base import StoredFile
from bigearthnet.store.ownership import RESUME
from bigearthnet.store.s3.prefix import Prefix
from bigearthnet.store.s3.upload import Upload, abort_upload


class _Note(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    upload: str
    size: int
    md5: str | None
    validator: str | None


class S3Partial:
    """An unfinished upload, with a note in `.resume/<name>.json`; see `Partial` for the methods.

    S3 tells nothing about an unfinished upload but its name, and does not give its bytes back. A killed run
    loses less than a part.
    """

    def __init__(self, prefix: Prefix, name: str, size: int, md5: str | None) -> None:
        self._prefix = prefix
        self._name = name
        self._note_name = f"{RESUME}{name}.json"
        self._size = size
        self._md5 = md5
        self._upload = Upload(prefix, name, {})
        self.validator: str | None = None
        self._load()

    @property
    def position(self) -> int:
        return self._upload.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def held(self) -> None:
        return None

    def restart(self, validator: str | None) -> None:
        self.discard()
        note = _Note(upload=self._upload.begin(), size=self._size, md5=self._md5, validator=validator)
        self._prefix.put(self._note_name, note.model_dump_json().encode())
        self.validator = validator

    def write(self, data: memoryview) -> None:
        self._upload.write(data)

    def commit(self) -> StoredFile:
        if self.position != self._size:
            raise ValueError(f"{self._prefix.url(self._name)} has {self.position} bytes of {self._size}")
        stored = self._upload.commit()
        self._prefix.delete([self._note_name])
        return stored

    def discard(self) -> None:
        self._prefix.require_ours()
        self._upload.abort()
        self.validator = None
        self._prefix.delete([self._note_name])

    def _load(self) -> None:
        """Go on with the upload of the note if it is of the same file, else abort it."""
        note = _read_note(self._prefix, self._note_name)
        if note is None:
            return
        if (note.size, note.md5) != (self._size, self._md5):
            abort_upload(self._prefix, self._name, note.upload)
        elif self._upload.go_on(note.upload):
            self.validator = note.validator


def noted_uploads(prefix: Prefix) -> set[str]:
    """Ids of the uploads that a later run goes on with."""
    notes = [_read_note(prefix, file.name) for file in prefix.list(RESUME)]
    return {note.upload for note in notes if note is not None}


def _read_note(prefix: Prefix, name: str) -> _Note | None:
    found = prefix.get(name)
    try:
        return None if found is None else _Note.model_validate_json(found.data)
    except ValidationError:
        return None
