"""A file over HTTP that is read whole: a broken, stalled or cut answer is asked for again where it ended."""

import io
from typing import TYPE_CHECKING, Final

import urllib3
from urllib3.exceptions import HTTPError

from bigearthnet.source.old.answers import FailedTryError, body_start, without_secrets
from bigearthnet.source.old.http import Http, reason
from bigearthnet.source.old.record import RecordFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK_BYTES: Final = 256 << 10


class HttpReader(io.RawIOBase):
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
            raise ValueError("read of a closed HttpReader")
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
            piece = self._response.read1(min(most, _BLOCK_BYTES), decode_content=False)
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
