"""A mirror being made: the record's files sent to a bucket in parts, each of which is sent once.

S3 tells nothing of an unfinished upload but its key, and gives none of its bytes back. So a note beside the
objects says which edition of which file an upload is of, and an object made by several runs is read back
before anybody is told of it: its md5 could not be computed in passing. Notes go when `record.json` comes.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from bigearthnet.errors import ChecksumError, SourceError
from bigearthnet.source.old.opening import Reading, Remote
from bigearthnet.source.old.record import RECORD_FILES, Record, RecordFile
from bigearthnet.store.s3.multipart import Upload
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.parts import MAX_PARTS
from bigearthnet.store.s3.place import Stored
from bigearthnet.store.s3.reader import BucketReader
from bigearthnet.store.s3.source import NOTES, RECORD, dump_record, read_mirror
from bigearthnet.store.s3.unfinished import abort_unfinished, unfinished
from bigearthnet.work.digests import md5_of_file

PART_BYTES: Final = 16 << 20
"""Of a file; twice as much is in memory, and as much of it a killed run can lose."""
SOURCE_MD5: Final = "source-md5"
"""The object's metadata that hold the md5 of its bytes, hexadecimal."""

_CONTENT_TYPE: Final = "application/octet-stream"
_BLOCK_BYTES: Final = 256 << 10

OnBytes = Callable[[int], None]


class _Begun(BaseModel):
    """An unfinished upload: its id, how it is cut, and the validator of the edition it is of."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    upload: str
    part_bytes: int
    validator: str | None


class _Note(BaseModel):
    """How far a file is: begun, or there with an ETag under which its md5 was seen to be right."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    size: int
    md5: str
    begun: _Begun | None = None
    right: str | None = None


class Mirror:
    """A place in a bucket that becomes the mirror of a record; made by `open_mirror`.

    Args:
        bucket: the place, held by the run.
        published: the record that it is a mirror of until now.
        check: raises if the place is not the run's any more.

    Attributes:
        sent: bytes that were sent until now.
    """

    def __init__(self, bucket: Bucket, published: Record | None, check: Callable[[], None]) -> None:
        self.sent = 0
        self._bucket = bucket
        self._published = published
        self._check = check

    def put(self, file: RecordFile, md5: str, remote: Remote, progress: Callable[[str], OnBytes]) -> bool:
        """Have a file there, right to the byte; what an earlier run sent of it is not sent again.

        Args:
            file: of the record.
            md5: of its bytes, hexadecimal.
            remote: opens it.
            progress: for what is going to be done with all of its bytes, gives what is told of them.

        Returns:
            Whether anything was left to send.

        Raises:
            TransferError: source or bucket did not answer to the end; another try goes on from there.
            ChecksumError: it is not the file that the record promises; nothing of it is kept.
            SourceError: the source refuses the file.
            DestinationError: the bucket refuses it.
            BusyError: another run holds the place by now.
        """
        note = self._note(file, md5)
        found = self._bucket.head(file.name)
        if found is None or (found.size, found.metadata.get(SOURCE_MD5)) != (file.size, md5):
            self._retract()
            self._send(file, md5, note, remote, progress)
            return True
        if not self._is_published(file) and (note is None or note.right != found.etag):
            self._read_back(found, md5, progress("checking"))
        return False

    def finish(self, record: Record) -> None:
        """Let all that was put be the mirror of the record: what readers go by is written last.

        Raises:
            BusyError: another run holds the place by now.
            DestinationError: the bucket refuses it.
            TransferError: the server does not answer.
        """
        data = dump_record(record)
        if self._published is None or dump_record(self._published) != data:
            self._check()
            self._bucket.write(RECORD, data)
        self._bucket.delete(_note_of(name) for name in RECORD_FILES)

    def _is_published(self, file: RecordFile) -> bool:
        return self._published is not None and self._published.file(file.name) is not None

    def _retract(self) -> None:
        """Before anything changes `record.json` goes; what it vouched for, notes vouch for from now on."""
        if self._published is None:
            return
        for name in [file.name for file in self._published.files]:
            found = self._bucket.head(name)
            if found is not None and SOURCE_MD5 in found.metadata:
                self._write_note(
                    name, _Note(size=found.size, md5=found.metadata[SOURCE_MD5], right=found.etag)
                )
        self._check()
        self._bucket.delete([RECORD])
        self._published = None

    def _send(
        self,
        file: RecordFile,
        md5: str,
        note: _Note | None,
        remote: Remote,
        progress: Callable[[str], OnBytes],
    ) -> None:
        place, on_bytes = self._bucket.place, progress("mirroring")
        key = place.key(file.name)
        upload = Upload(self._bucket.client, place.bucket, key, {SOURCE_MD5: md5}, _CONTENT_TYPE)
        begun = self._gone_on(upload, file, note)
        start = upload.size
        on_bytes(start)
        try:
            with remote.open(file, start, begun.validator if begun else None) as source:
                if begun is None:
                    source.begin()
                    begun = self._begun(upload, file, md5, source.validator)
                found_md5 = self._send_parts(upload, source, file, begun.part_bytes, on_bytes)
            if not start and found_md5 != md5:
                raise ChecksumError(
                    f"expected {file.name} with md5 {md5}, found {found_md5} when all of it had been sent; "
                    "the upload is aborted, run again"
                )
            self._check()
            etag = upload.complete()
        except ChecksumError:
            upload.abort()
            self._bucket.delete([_note_of(file.name)])
            raise
        if start:
            self._read_back(Stored(file.name, file.size, etag, {}), md5, progress("checking"))
        else:
            self._write_note(file.name, _Note(size=file.size, md5=md5, right=etag))

    def _gone_on(self, upload: Upload, file: RecordFile, note: _Note | None) -> _Begun | None:
        """Go on with the unfinished upload of the note, if it is there; all others of the file are aborted.

        The place is the run's, so these are what killed runs left: of another edition, or without a note.
        """
        begun = note.begun if note else None
        place, client = self._bucket.place, self._bucket.client
        bucket, key = place.bucket, place.key(file.name)
        self._check()
        abort_unfinished(client, bucket, key, lambda found: found == key, but=begun.upload if begun else None)
        if begun is None or (key, begun.upload) not in unfinished(client, bucket, key):
            return None
        upload.go_on(begun.upload, file.size, begun.part_bytes)
        return begun

    def _begun(self, upload: Upload, file: RecordFile, md5: str, validator: str | None) -> _Begun:
        part_bytes = max(PART_BYTES, -(-file.size // MAX_PARTS))
        begun = _Begun(upload=upload.begin(), part_bytes=part_bytes, validator=validator)
        self._write_note(file.name, _Note(size=file.size, md5=md5, begun=begun))
        return begun

    def _send_parts(
        self, upload: Upload, source: Reading, file: RecordFile, part_bytes: int, on_bytes: OnBytes
    ) -> str:
        """Send what is left of the file; returns the md5 of that."""
        digest = hashlib.md5(usedforsecurity=False)
        while upload.size < file.size:
            part = _read(source, min(part_bytes, file.size - upload.size), file, upload.size)
            digest.update(part)
            self._check()
            upload.send(part)
            self.sent += len(part)
            on_bytes(len(part))
        return digest.hexdigest()

    def _read_back(self, found: Stored, md5: str, on_bytes: OnBytes) -> None:
        """See that an object has the md5 that it should, or remove it."""
        digest = hashlib.md5(usedforsecurity=False)
        with BucketReader(self._bucket, found) as reader:
            while block := reader.read(_BLOCK_BYTES):
                digest.update(block)
                on_bytes(len(block))
        if digest.hexdigest() != md5:
            self._check()
            self._bucket.delete([found.name, _note_of(found.name)])
            raise ChecksumError(
                f"expected {self._bucket.place.url(found.name)} with md5 {md5}, found {digest.hexdigest()} "
                "on reading it back; it is removed, run again"
            )
        self._write_note(found.name, _Note(size=found.size, md5=md5, right=found.etag))

    def _note(self, file: RecordFile, md5: str) -> _Note | None:
        """The note of the file, None where there is none of this edition."""
        data = self._bucket.read(_note_of(file.name))
        try:
            note = _Note.model_validate_json(data or b"")
        except ValidationError:
            return None
        return note if (note.size, note.md5) == (file.size, md5) else None

    def _write_note(self, name: str, note: _Note) -> None:
        self._bucket.write(_note_of(name), note.model_dump_json().encode())


def open_mirror(bucket: Bucket, check: Callable[[], None]) -> Mirror:
    """The mirror at a place in a bucket, whole, unfinished or not yet begun.

    Args:
        bucket: the place, held by the run.
        check: raises if it is not any more.

    Raises:
        DestinationError: there is a `record.json` that is none of ours, or the server refuses.
        TransferError: the server does not answer.
    """
    return Mirror(bucket, read_mirror(bucket), check)


def md5_of(file: RecordFile, on_bytes: OnBytes) -> str:
    """The md5 that a file of a record must have: the record's, or that of the local file.

    Raises:
        SourceError: it has none, and is not local.
    """
    if file.md5 is not None:
        return file.md5
    if not file.is_local:
        raise SourceError(
            f"expected the md5 of {file.name} in the record, found none for {file.location}; "
            "name a record that states md5s, or a folder"
        )
    return md5_of_file(Path(file.location), on_bytes=on_bytes)


def _read(source: Reading, size: int, file: RecordFile, position: int) -> bytes:
    """So many bytes of a file, from `position`, where it stands."""
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        count = source.readinto(view[filled:])
        if not count:
            raise ChecksumError(
                f"expected {file.size} bytes of {file.name}, found its end after {position + filled}; "
                "it changed while it was read, run again"
            )
        filled += count
    return bytes(data)


def _note_of(name: str) -> str:
    return f"{NOTES}{name}.json"
