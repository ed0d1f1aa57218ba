"""Files of a record brought to the disk: whole and checked, going on where an earlier try ended."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bigearthnet.errors import ChecksumError
from bigearthnet.source.old.opening import Reading, Remote
from bigearthnet.source.old.record import RecordFile
from bigearthnet.work.digests import replace_text

BLOCK_BYTES = 256 << 10
"""Read and written at once; larger blocks are no faster, and a killed download loses one at most."""


class _Note(BaseModel):
    """Which file, and which edition of it, the bytes of a `.part` are of."""

    model_config = ConfigDict(strict=True, extra="forbid")
    size: int
    md5: str | None
    validator: str | None


def download(remote: Remote, file: RecordFile, target: Path, *, on_bytes: Callable[[int], None]) -> str:
    """Bring a record's file to `target`, going on from what an earlier try left in `<target>.part`.

    Args:
        remote: opens the file where it lies.
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
        md5 = _fill(remote, file, part, note_path, on_bytes)
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


def _fill(
    remote: Remote, file: RecordFile, part: Path, note_path: Path, on_bytes: Callable[[int], None]
) -> str:
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
        remote.open(file, found, validator) as reader,
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


def _blocks(source: io.BufferedReader | Reading) -> Iterator[memoryview]:
    """The bytes of a reader, each block in the same buffer."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    while count := source.readinto(buffer):
        yield buffer[:count]
