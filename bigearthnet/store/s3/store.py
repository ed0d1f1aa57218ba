"""A store in a prefix of an S3 bucket."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from email.message import Message
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from botocore.exceptions import ClientError

from bigearthnet.errors import ChangedError, StoreError
from bigearthnet.store.base import Piece, Range, Staged, StoredFile
from bigearthnet.store.disk import translate_os_errors
from bigearthnet.store.ownership import is_reserved, require_name
from bigearthnet.store.reader import Opened, ResumingReader, read_small
from bigearthnet.store.s3.lock import PrefixLock, lock_prefix
from bigearthnet.store.s3.partial import S3Partial, noted_uploads
from bigearthnet.store.s3.prefix import Prefix
from bigearthnet.store.s3.trial import try_prefix, warn_of_end
from bigearthnet.store.s3.upload import Upload, abort_other_uploads
from bigearthnet.store.transfer import blocks

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

_READ_BYTES: Final = 128 << 10  # what a broken connection can lose
_SHA256: Final = "sha256"  # in the metadata of objects


class S3Store:
    """Objects below a prefix of a bucket; see `Store` for the methods, and `Prefix` for the arguments."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self._prefix = Prefix(client, bucket, prefix)

    @property
    def url(self) -> str:
        return str(self._prefix)

    @property
    def folder(self) -> Path | None:
        return None

    def head(self, name: str) -> StoredFile | None:
        head = self._prefix.head(self._named(name))
        return None if head is None else StoredFile(name, head.size, head.etag)

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        for file in self._prefix.list(prefix):
            # The console of S3 writes an object `folder/` for a folder.
            if not is_reserved(file.name) and file.name and not file.name.endswith("/"):
                yield file

    def digest(self, file: StoredFile) -> str | None:
        head = self._prefix.head(self._named(file.name))
        if head is None or head.etag != file.etag:
            raise self._changed(file.name)
        return head.metadata.get(_SHA256)

    def open(self, file: StoredFile, start: int = 0, stop: int | None = None) -> ResumingReader:
        stop = file.size if stop is None else min(stop, file.size)
        url = self._prefix.url(self._named(file.name))
        return ResumingReader(partial(self._open_at, file, stop), url, start, stop)

    def read(self, name: str) -> bytes | None:
        file = self.head(name)
        return None if file is None else read_small(self.open(file), file.size)

    def write(self, name: str, data: bytes, *, create: bool = False) -> StoredFile:
        self._prefix.require_ours()
        metadata = {_SHA256: hashlib.sha256(data).hexdigest()}
        condition = {"IfNoneMatch": "*"} if create else {}
        try:
            etag = self._prefix.put(self._named(name), data, Metadata=metadata, **condition)
        except ChangedError:
            head = self._prefix.head(name)
            if head is None or head.metadata != metadata:
                raise
            etag = head.etag  # of a try of ours whose response was lost
        return StoredFile(name, len(data), etag)

    def upload(self, path: Path, name: str) -> StoredFile:
        with self._joined(name, [path], {}) as staged:
            return staged.commit()

    def stage(self, name: str, pieces: Sequence[Piece], sha256: str) -> AbstractContextManager[Staged]:
        return self._joined(name, pieces, {_SHA256: sha256})

    def resume(self, name: str, size: int, version: str) -> S3Partial:
        self._prefix.require_ours()
        return S3Partial(self._prefix, self._named(name), size, version)

    def delete(self, names: Iterable[str]) -> None:
        self._prefix.require_ours()
        self._prefix.delete([self._named(name) for name in names])

    @contextmanager
    def lock(self, run: str) -> Iterator[PrefixLock]:
        self._prefix.require_ours()
        with lock_prefix(self._prefix, run) as lock:
            abort_other_uploads(self._prefix, noted_uploads(self._prefix))  # left by killed runs
            yield lock

    def try_out(self, *, joins: bool) -> None:
        try_prefix(self._prefix, joins=joins)
        warn_of_end(self._credentials())

    def presign(self, name: str, minutes: int, download_name: str) -> str:
        """Sign a link by which anyone can download an object, for so many minutes; the server is not asked.

        A browser saves the object as `download_name`; if that is empty, under its own name.
        """
        request = self._prefix.at(self._named(name))
        if download_name:
            header = Message()
            header.add_header("Content-Disposition", "attachment", filename=download_name)
            request["ResponseContentDisposition"] = str(header["Content-Disposition"])
        client, seconds = self._prefix.client, minutes * 60
        with self._prefix.translating("sign a link to", name):
            url = client.generate_presigned_url("get_object", Params=request, ExpiresIn=seconds)
        if "X-Amz-Date" not in parse_qs(urlsplit(url).query):
            raise StoreError(
                f"cannot sign a link to {self._prefix.url(name)}: the credentials ask for a version of "
                "signatures other than 4. Remove signature_version from their configuration."
            )
        return url

    def region(self) -> str | None:
        """Region that links must be signed for; None if the server does not say."""
        response: Any
        with self._prefix.translating("find the region of"):
            try:
                response = self._prefix.client.head_bucket(Bucket=self._prefix.bucket)
            except ClientError as error:  # a refusal names the region, too
                response = error.response
        region: str | None = response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        return region

    def credentials_end(self) -> datetime | None:
        """End of the credentials, and so of the links; None if they do not end, or do not say."""
        ends_at = getattr(self._credentials(), "_expiry_time", None)
        return ends_at.astimezone(UTC) if isinstance(ends_at, datetime) else None

    def _credentials(self) -> "Credentials | None":
        # botocore shows them nowhere else
        credentials: Credentials | None = getattr(self._prefix.client, "_get_credentials", lambda: None)()
        return credentials

    def _named(self, name: str) -> str:
        require_name(name, self.url)
        return name

    def _open_at(self, file: StoredFile, stop: int, position: int) -> Opened:
        asked_for = f"{position}-{stop - 1}"
        with self._prefix.translating("read", file.name):
            response = self._prefix.client.get_object(
                **self._prefix.at(file.name), Range=f"bytes={asked_for}", IfMatch=file.etag
            )
            if response["ContentRange"] != f"bytes {asked_for}/{file.size}":
                raise self._changed(file.name)
        return Opened(_Body(response["Body"], self._prefix, file.name), position)

    def _changed(self, name: str) -> ChangedError:
        return ChangedError(f"{self._prefix.url(name)} was replaced or removed meanwhile. Run again.")

    @contextmanager
    def _joined(self, name: str, pieces: Sequence[Piece], metadata: dict[str, str]) -> Iterator[Staged]:
        """An upload with all its parts on the server, aborted at the end unless it was completed."""
        upload = Upload(self._prefix, self._named(name), metadata)
        upload.begin()
        try:
            for piece in pieces:
                if isinstance(piece, Range):
                    self._append_range(piece, upload)
                else:
                    _append_file(piece, upload)
            upload.flush()  # a commit is one request, as none may take long while no card is there
            yield Staged(upload.size, upload.commit)
        finally:
            upload.abort()

    def _append_range(self, piece: Range, upload: Upload) -> None:
        middle = piece.start + upload.before_copy(piece.stop - piece.start)
        with self.open(piece.file, piece.start, middle) as reader:
            for block in blocks(reader):
                upload.write(block)
        if middle < piece.stop:
            upload.copy(Range(piece.file, middle, piece.stop))


def _append_file(path: Path, upload: Upload) -> None:
    with translate_os_errors("read", path), path.open("rb") as file:
        end = upload.size + os.fstat(file.fileno()).st_size
        for block in blocks(file):
            upload.write(block)
    if upload.size != end:
        raise ChangedError(f"{path} became shorter or longer while it was read. Run again.")


class _Body:
    """The body of a response."""

    def __init__(self, body: "StreamingBody", prefix: Prefix, name: str) -> None:
        self._body = body
        self._prefix = prefix
        self._name = name

    def readinto(self, buffer: memoryview, /) -> int:
        with self._prefix.translating("read", self._name):
            count: int = self._body.readinto(buffer[:_READ_BYTES])  # type: ignore[arg-type]  # takes a buffer
        return count

    def interrupt(self) -> None:
        response: Any = getattr(self._body, "_raw_stream", None)  # botocore shows it nowhere else
        with suppress(AttributeError, OSError, RuntimeError, ValueError):  # it has ended already
            response.shutdown()

    def close(self) -> None:
        self._body.close()
