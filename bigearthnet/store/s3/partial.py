"""A file that is sent to a bucket from front to back, over several runs if need be."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, ValidationError

from bigearthnet.store.base import StoredFile
from bigearthnet.store.ownership import RESUME
from bigearthnet.store.s3.prefix import Prefix
from bigearthnet.store.s3.upload import Upload, abort_upload


class _Note(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    upload: str
    size: int
    version: str


class S3Partial:
    """An unfinished upload, with a note in `.resume/<name>.json`; see `Partial` for the methods.

    S3 tells nothing about an unfinished upload but its name, and does not give its bytes back. A killed run
    loses less than a part.
    """

    def __init__(self, prefix: Prefix, name: str, size: int, version: str) -> None:
        self._prefix = prefix
        self._name = name
        self._note_name = f"{RESUME}{name}.json"
        self._size = size
        self._version = version
        self._upload = Upload(prefix, name, {})
        self._load()

    @property
    def position(self) -> int:
        return self._upload.size

    @property
    def ahead(self) -> None:
        return None

    def held(self) -> None:
        return None

    def append(self, blocks: Iterable[memoryview]) -> None:
        self._begin()
        for block in blocks:
            self._upload.write(block)

    def commit(self) -> StoredFile:
        if self.position != self._size:
            raise ValueError(f"{self._prefix.url(self._name)} has {self.position} bytes of {self._size}")
        self._begin()  # an empty file has not begun yet
        self._upload.flush()
        stored = self._upload.commit()
        self._prefix.delete([self._note_name])
        return stored

    def discard(self) -> None:
        self._prefix.require_ours()
        self._upload.abort()
        self._prefix.delete([self._note_name])

    def _begin(self) -> None:
        if self._upload.id is None:
            note = _Note(upload=self._upload.begin(), size=self._size, version=self._version)
            self._prefix.put(self._note_name, note.model_dump_json().encode())

    def _load(self) -> None:
        """Go on with the upload of the note if it is of the same file, else abort it."""
        note = _read_note(self._prefix, self._note_name)
        if note is None:
            return
        if (note.size, note.version) == (self._size, self._version):
            self._upload.go_on(note.upload)
        else:
            abort_upload(self._prefix, self._name, note.upload)


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
