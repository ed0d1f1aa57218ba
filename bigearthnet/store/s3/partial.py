"""A file that is sent to a bucket from front to back, over several runs if need be."""

from collections.abc import Iterable

from bigearthnet.store.base import StoredFile
from bigearthnet.store.ownership import RESUME
from bigearthnet.store.resume import ResumeNote, read_note
from bigearthnet.store.s3.prefix import Prefix
from bigearthnet.store.s3.upload import Upload, abort_upload


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

    def held(self) -> None:
        return None

    def restart(self, validator: str | None) -> None:
        self.discard()
        upload = self._upload.begin()
        note = ResumeNote(size=self._size, md5=self._md5, validator=validator, upload=upload)
        self._prefix.put(self._note_name, note.dump())
        self.validator = validator

    def append(self, blocks: Iterable[memoryview]) -> None:
        for block in blocks:
            self._upload.write(block)

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
        found = self._prefix.get(self._note_name)
        note = None if found is None else read_note(found.data)
        if note is None or note.upload is None:
            return
        if (note.size, note.md5) != (self._size, self._md5):
            abort_upload(self._prefix, self._name, note.upload)
        elif self._upload.go_on(note.upload):
            self.validator = note.validator


def noted_uploads(prefix: Prefix) -> set[str]:
    """Ids of the uploads that a later run goes on with."""
    found = [prefix.get(file.name) for file in prefix.list(RESUME)]
    notes = [read_note(one.data) for one in found if one is not None]
    return {note.upload for note in notes if note is not None and note.upload}
