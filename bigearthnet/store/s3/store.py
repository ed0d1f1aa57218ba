"""A store in a prefix of an S3 bucket."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bigearthnet.errors import ChangedError, DestinationError, TransferError
from bigearthnet.store.base import Piece, Refusal, StoredFile
from bigearthnet.store.disk import require_unchanged, translate_os_errors
from bigearthnet.store.ownership import MARKER, MARKER_TEXT, is_reserved, require_name, require_unused
from bigearthnet.store.reader import Opened, ResumingReader, read_small
from bigearthnet.store.s3 import signing
from bigearthnet.store.s3.lease import Lease, lease
from bigearthnet.store.s3.partial import S3Partial, noted_uploads
from bigearthnet.store.s3.pieces import Cut, plan_parts
from bigearthnet.store.s3.prefix import NO_METADATA, Prefix
from bigearthnet.store.s3.upload import Upload, abort_uploads, list_uploads

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

PUT_LIMIT_BYTES: Final = 256 << 20
"""Size of the largest file that is sent in one request, which takes no memory and leaves nothing behind."""
_READ_BYTES: Final = 128 << 10  # what a broken connection can lose
_PARTIAL_CONTENT: Final = 206
_SHA256: Final = "sha256"  # in the metadata of objects


class S3Store:
    """Objects below a prefix of a bucket; see `Store` for the methods.

    Args:
        client: makes the requests, and retries them.
        bucket: name of the bucket.
        prefix: without slashes at its ends; empty for the whole bucket.
        refusal: error for a request that is refused.
    """

    def __init__(
        self, client: "S3Client", bucket: str, prefix: str, refusal: Refusal = DestinationError
    ) -> None:
        self._prefix = Prefix(client, bucket, prefix, refusal)
        self._lease: Lease | None = None
        self._is_ours = False

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return str(self._prefix)

    @property
    def folder(self) -> Path | None:
        """None: it is not on this machine."""
        return None

    def head(self, name: str) -> StoredFile | None:
        """Look an object up."""
        head = self._prefix.head(self._named(name))
        return None if head is None else StoredFile(name, head["ContentLength"], head["ETag"])

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """Yield the objects whose names begin with `prefix`, in ascending order of names."""
        for file in self._prefix.list(prefix):
            # The console of S3 writes an object `folder/` for a folder.
            if not is_reserved(file.name) and file.name and not file.name.endswith("/"):
                yield file

    def digest(self, file: StoredFile) -> str | None:
        """SHA-256 (hex) from the object's metadata; None if it has none."""
        head = self._prefix.head(self._named(file.name))
        if head is None or head["ETag"] != file.etag:
            raise ChangedError(f"{self._prefix.url(file.name)} was replaced or removed meanwhile. Run again.")
        return head["Metadata"].get(_SHA256)

    def open(self, file: StoredFile, start: int = 0, stop: int | None = None) -> ResumingReader:
        """Open bytes `start` to `stop` of an object; reading raises ChangedError when it was replaced."""
        stop = file.size if stop is None else min(stop, file.size)
        url = self._prefix.url(self._named(file.name))
        return ResumingReader(partial(self._open_at, file, stop), url, start, stop)

    def read(self, name: str) -> bytes | None:
        """Read a small object; None if it is not there."""
        file = self.head(name)
        return None if file is None else read_small(self.open(file), file.size, self._prefix.refusal)

    def write(self, name: str, data: bytes) -> StoredFile:
        """Write a small object in one request."""
        self._require_ours(name)
        metadata = {_SHA256: hashlib.sha256(data).hexdigest()}
        return StoredFile(name, len(data), self._prefix.put(name, data, metadata))

    def upload(self, path: Path, name: str, sha256: str | None = None) -> StoredFile:
        """Send a local file: up to 256 MiB in one request, else in parts."""
        self._require_ours(name)
        metadata = NO_METADATA if sha256 is None else {_SHA256: sha256}
        with translate_os_errors("read", path), require_unchanged([path]), path.open("rb") as file:
            size = path.stat().st_size
            if size <= PUT_LIMIT_BYTES:
                return StoredFile(name, size, self._prefix.put(name, file, metadata))
        with self._prepared(name, [path], metadata) as upload:
            return upload.complete()

    @contextmanager
    def stage(self, name: str, pieces: Sequence[Piece], sha256: str) -> Iterator["StagedObject"]:
        """Join pieces in a multipart upload; ranges of at least 5 MiB are copied on the server."""
        self._require_ours(name)
        with self._prepared(name, pieces, {_SHA256: sha256}) as upload:
            yield StagedObject(upload, partial(self._require_ours, name))

    def resume(self, name: str, size: int, md5: str | None) -> S3Partial:
        """Go on with an unfinished upload, or begin one."""
        self._require_ours(name)
        return S3Partial(self._prefix, name, size, md5, partial(self._require_ours, name))

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are skipped."""
        names = list(names)
        for name in names:
            self._require_ours(name)
        self._prefix.delete(names)

    @contextmanager
    def lock(self, run: str) -> Iterator[Lease]:
        """Lock the prefix, and abort the uploads that killed runs left and no later run goes on with."""
        self._claim()
        with lease(self._prefix, run) as held:
            self._lease = held
            try:
                kept = noted_uploads(self._prefix)
                abort_uploads(self._prefix, [u for u in list_uploads(self._prefix) if u not in kept])
                yield held
            finally:
                self._lease = None

    def presign(self, file_name: str, minutes: int, download_name: str) -> str:
        """Sign a link to an object, by which anyone can download it; the server is not asked.

        Args:
            file_name: name of the object.
            minutes: from now until the link ends.
            download_name: what a browser saves the object as; empty: as the link ends.
        """
        return signing.presigned_url(self._prefix, self._named(file_name), minutes, download_name)

    def region(self) -> str | None:
        """Region that links must be signed for; None if the server is not Amazon's, or does not say."""
        return signing.bucket_region(self._prefix)

    def credentials_end(self) -> datetime | None:
        """End of the credentials, and so of the links; None if they do not end, or do not say."""
        return signing.credentials_end(self._prefix.client)

    def _named(self, name: str) -> str:
        require_name(name, self.url, self._prefix.refusal)
        return name

    def _require_ours(self, name: str) -> None:
        """Before anything is written: the name can be used, the prefix is ours, and so is its lock."""
        self._named(name)
        self._claim()
        if self._lease is not None:
            self._lease.check_if_old()

    def _claim(self) -> None:
        """Make sure that the prefix is ours: it has our marker, or it is empty and gets it."""
        if self._is_ours:
            return
        if self._prefix.head(MARKER) is None:
            require_unused((file.name for file in islice(self._prefix.list(), 10)), self.url)
            self._prefix.put(MARKER, MARKER_TEXT)
        self._is_ours = True

    def _open_at(self, file: StoredFile, stop: int, position: int, _validator: str | None) -> Opened:
        expected = f"bytes {position}-{stop - 1}/{file.size}"
        with self._prefix.translating("read", file.name):
            response = self._prefix.client.get_object(
                Bucket=self._prefix.bucket,
                Key=self._prefix.key(file.name),
                Range=f"bytes={position}-{stop - 1}",
                IfMatch=file.etag,
            )
            status = response["ResponseMetadata"]["HTTPStatusCode"]
        body = _Body(response["Body"], self._prefix, file.name)
        found = response.get("ContentRange")
        if found == expected:
            return Opened(body, position, file.etag)
        body.close()
        url = self._prefix.url(file.name)
        if found is None and status == _PARTIAL_CONTENT:
            raise TransferError(f"cannot read {url}: the response broke off at once. Try again later.")
        raise ChangedError(
            f"cannot read {url}: the server sent {found or 'all of it'} instead of {expected}. It was "
            "replaced meanwhile, or the server cannot send a part of an object. Run again."
        )

    @contextmanager
    def _prepared(self, name: str, pieces: Sequence[Piece], metadata: Mapping[str, str]) -> Iterator[Upload]:
        """An upload with all its parts on the server, aborted at the end unless it was completed."""
        paths = [piece for piece in pieces if isinstance(piece, Path)]
        with Upload(self._prefix, name, metadata) as upload:
            with translate_os_errors("read", paths[0] if paths else Path()), require_unchanged(paths):
                for part in plan_parts(pieces):
                    if part.copied is not None:
                        upload.copy(part.copied)
                    else:
                        upload.send(b"".join(map(self._read_cut, part.cuts)))
            upload.check()
            yield upload

    def _read_cut(self, cut: Cut) -> bytes:
        if isinstance(cut.piece, bytes):
            return cut.piece[cut.start : cut.stop]
        if isinstance(cut.piece, Path):
            with cut.piece.open("rb") as file:
                return os.pread(file.fileno(), cut.size, cut.start)
        start = cut.piece.start
        reader = self.open(cut.piece.file, start + cut.start, start + cut.stop)
        return read_small(reader, cut.size, self._prefix.refusal)


class StagedObject:
    """A multipart upload with all its parts; see `Staged`."""

    def __init__(self, upload: Upload, check: Callable[[], None]) -> None:
        self._upload = upload
        self._check = check

    @property
    def size(self) -> int:
        """Bytes."""
        return self._upload.size

    def commit(self) -> StoredFile:
        """Complete the upload."""
        self._check()
        return self._upload.complete()


class _Body:
    """The body of a response."""

    def __init__(self, body: "StreamingBody", prefix: Prefix, name: str) -> None:
        self._body = body
        self._prefix = prefix
        self._name = name

    def readinto(self, buffer: memoryview, /) -> int:
        """Read; raises TransferError when the connection breaks."""
        with self._prefix.translating("read", self._name):
            count: int = self._body.readinto(buffer[:_READ_BYTES])  # type: ignore[arg-type]  # takes a buffer
        return count

    def close(self) -> None:
        """Close the connection."""
        self._body.close()
