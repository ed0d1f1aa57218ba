"""Files over HTTP that arrive whole: a broken, stalled or cut answer is asked for again where it ended."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError
from urllib3.exceptions import HTTPError

from bigearthnet.answers import FailedTryError, body_start, without_secrets
from bigearthnet.digests import replace_text
from bigearthnet.errors import ChecksumError
from bigearthnet.http_client import Http, reason
from bigearthnet.record import RecordFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 256 << 10
"""Read and written at once; larger blocks are no faster, and a killed download loses one at most."""


class RemoteReader(io.RawIOBase):
    """The bytes of a record's file, from `start` to its size, over as many connections as it takes.

    A try that fails is made again from the byte it ended at, under the condition that the file is
    still the same. Never more bytes than the record promises are read.

    Args:
        http: makes the requests.
        file: what to read.
        start: first byte to read.
        validator: ETag (or date of the last change) that the bytes before `start` came with.

    Attributes:
        position: of the next byte.
    """

    def __init__(self, http: Http, file: RecordFile, start: int = 0, *, validator: str | None = None) -> None:
        super().__init__()
        self._response: urllib3.BaseHTTPResponse | None = None
        self._http = http
        self._file = file
        self.position = start
        self._validator = validator
        self._unwanted = 0  # bytes of the body that lie before `position`
        self._failure: FailedTryError | None = None
        self._failed_at = start
        self._fruitless = 0

    @property
    def validator(self) -> str | None:
        """ETag (or date of the last change) of the file, as soon as an answer has told it."""
        return self._validator

    def readable(self) -> bool:
        """Always."""
        return True

    def begin(self) -> int:
        """Ask for the file before reading, and take it from its beginning if that is what comes.

        Returns:
            Where reading will begin: `start`, or 0.

        Raises:
            TransferError, SourceError, ChecksumError: as `readinto`.
        """
        while self._response is None and self.position < self._file.size:
            try:
                self._ask(restart=True)
            except FailedTryError as error:
                self._fail(error)
        return self.position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill the buffer; less only at the end, or where a connection broke.

        Raises:
            TransferError: no new byte came in as many tries as patience has.
            SourceError: the server refuses the file.
            ChecksumError: the file changed, or has another size than the record says.
        """
        if self.closed:
            raise ValueError("read of a closed RemoteReader")
        view = memoryview(buffer).cast("B")[: max(self._file.size - self.position, 0)]
        filled = 0
        while filled < len(view):
            try:
                piece = self._next_piece(len(view) - filled)
            except FailedTryError as error:
                self._fail(error)
                if filled:
                    break  # hand over what came; the wait, or giving up, is for the next call
                continue
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self.position += len(piece)
        if self.position >= self._file.size:
            self._drop()
        return filled

    def close(self) -> None:
        """Let go of the connection."""
        self._drop()
        super().close()

    def _next_piece(self, most: int) -> bytes:
        if self._response is None:
            self._ask()
        while self._unwanted:
            self._unwanted -= len(self._receive(self._unwanted))
        return self._receive(most)

    def _ask(self, *, restart: bool = False) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self._http.wait(failure, self._fruitless, f"byte {self.position} of {self._what}")
        headers = {}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
            if self._validator is not None:
                headers["If-Range"] = self._validator
        answer, self._response = self._http.get(self._file.location, headers, usable=(200, 206, 416))
        start = body_start(answer, self._file, self.position, self._validator, restart=restart)
        if restart and start == 0:
            self.position = self._failed_at = 0
        self._unwanted = self.position - start
        if self._validator is None or self.position == 0:
            self._validator = answer.validator

    def _receive(self, most: int) -> bytes:
        assert self._response is not None  # noqa: S101
        try:
            # read1 hands over what has come; read(n) would lose it when the connection breaks before n.
            piece = self._response.read1(min(most, BLOCK_BYTES), decode_content=False)
        except HTTPError as error:
            raise FailedTryError(f"the answer broke off: {reason(error)}") from error
        if not piece:
            raise FailedTryError(f"the answer ended before byte {self._file.size}")
        return piece

    def _fail(self, error: FailedTryError) -> None:
        self._drop()
        self._failure = error
        self._fruitless = 0 if self.position > self._failed_at else self._fruitless + 1
        self._failed_at = self.position

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    @property
    def _what(self) -> str:
        return f"{self._file.name} from {without_secrets(self._file.location)}"


class _Note(BaseModel):
    """Which file, and which edition of it, the bytes of a `.part` are of."""

    model_config = ConfigDict(strict=True, extra="forbid")
    size: int
    md5: str | None
    validator: str | None


def download(http: Http, file: RecordFile, target: Path, *, on_bytes: Callable[[int], None]) -> str:
    """Bring a record's file to `target`, going on from what an earlier try left in `<target>.part`.

    Args:
        http: makes the requests.
        file: what to bring.
        target: where to; it is there when it is whole and checked, or not at all.
        on_bytes: told of each block, also of those found in the `.part`. They add up to the file's size:
            where found bytes must be fetched again, it is told of them as a negative number.

    Returns:
        The md5 of the file, hexadecimal.

    Raises:
        TransferError: the rest did not come; what came is kept for the next try.
        ChecksumError: it is not the file that the record promises; what came is removed.
        SourceError: the server refuses the file.
        OSError: the disk is full or cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    note_path = target.with_name(f"{target.name}.part.json")
    try:
        md5 = _fill(http, file, part, note_path, on_bytes)
        if file.md5 is not None and md5 != file.md5:
            raise ChecksumError(
                f"expected {file.name} with md5 {file.md5} as the record says, found {md5}; "
                f"{part} has been removed, download it again"
            )
    except ChecksumError:
        part.unlink(missing_ok=True)
        note_path.unlink(missing_ok=True)
        raise
    part.replace(target)
    note_path.unlink(missing_ok=True)
    return md5


def _fill(http: Http, file: RecordFile, part: Path, note_path: Path, on_bytes: Callable[[int], None]) -> str:
    """Complete the `.part`; returns its md5."""
    note = _read_note(file, note_path)
    found = part.stat().st_size if note is not None and part.is_file() else 0
    if found > file.size:
        found = 0
    validator = note.validator if note is not None else None
    digest = hashlib.md5(usedforsecurity=False)
    if found:
        with part.open("rb") as beginning:
            for block in _blocks(beginning):
                digest.update(block)
                on_bytes(len(block))
    with (
        part.open("ab" if found else "wb") as output,
        RemoteReader(http, file, found, validator=validator) as reader,
    ):
        if reader.begin() < found:
            output.truncate(0)
            digest = hashlib.md5(usedforsecurity=False)
            on_bytes(-found)
        note = _Note(size=file.size, md5=file.md5, validator=reader.validator)
        replace_text(note_path, note.model_dump_json())
        for block in _blocks(reader):
            output.write(block)
            digest.update(block)
            on_bytes(len(block))
        output.flush()
        os.fsync(output.fileno())
    return digest.hexdigest()


def _read_note(file: RecordFile, path: Path) -> _Note | None:
    """The note beside a `.part`, or None where it is of another file, or cannot be read."""
    try:
        note = _Note.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return note if (note.size, note.md5) == (file.size, file.md5) else None


def _blocks(source: io.RawIOBase | io.BufferedIOBase) -> Iterator[memoryview]:
    """The bytes of a reader, each block in the same buffer."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while count := source.readinto(buffer):
        yield buffer[:count]
