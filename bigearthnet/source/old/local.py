"""Files of the record at hand: those fetched into the work folder, and those used where they lie."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bigearthnet.archive.reader import decompress
from bigearthnet.dataset.card import Verification
from bigearthnet.source.old.download import download
from bigearthnet.source.old.opening import Remote
from bigearthnet.source.old.record import RecordFile
from bigearthnet.work.digests import known_digest, md5_of_file, remember_digest
from bigearthnet.work.workspace import Workspace

AS_IN_RECORD: Verification = "md5 as in the record"
COMPUTED: Verification = "md5 computed, none to compare with"
NOT_READ_TO_THE_END: Verification = "not read to the end"

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Holding:
    """A file that is at hand whole: size in bytes, md5 in hex and what that is worth."""

    name: str
    path: Path
    size: int
    md5: str
    verification: Verification


def held(file: RecordFile, workspace: Workspace) -> Holding | None:
    """The file, if it is at hand and known to be right without reading it."""
    path = _place(file, workspace)
    known = known_digest(path, workspace.digests)
    if known is None or (file.md5 is not None and known != file.md5):
        return None
    return Holding(file.name, path, file.size, known, verification(file, streams=False, to_the_end=True))


def left_to_fetch(file: RecordFile, workspace: Workspace) -> int:
    """Bytes that still have to come over the network for the file to be at hand."""
    path = _place(file, workspace)
    if file.is_local or path.exists():
        return 0
    part = path.with_name(f"{path.name}.part")
    return file.size - min(part.stat().st_size if part.exists() else 0, file.size)


def verification(file: RecordFile, *, streams: bool, to_the_end: bool) -> Verification:
    """What the md5 of a file is worth, once it was read as far as it is going to be.

    Args:
        file: a file of the record.
        streams: it is never on the disk as a whole.
        to_the_end: every byte of it is going to be read.
    """
    if file.md5 is None:
        return COMPUTED
    return NOT_READ_TO_THE_END if streams and not to_the_end else AS_IN_RECORD


def obtain(remote: Remote, file: RecordFile, workspace: Workspace, on_bytes: OnBytes) -> Holding:
    """Have the file at hand: look at it, compute its md5, or fetch it, whichever does.

    Args:
        remote: opens it where it lies, if it must be fetched.
        file: what to have.
        workspace: where it goes, unless it is local: then it is used in place and never changed.
        on_bytes: is told of bytes read or fetched.

    Raises:
        TransferError: the server did not give it; another try goes on where this one ended.
        ChecksumError: what came is not what the record promises; it was removed.
    """
    holding = held(file, workspace)
    if holding is not None:
        return holding
    path = _place(file, workspace)
    md5 = md5_of_file(path, on_bytes=on_bytes) if path.exists() else None
    if md5 is not None and file.md5 is not None and md5 != file.md5:
        path.unlink()
        md5 = None
    if md5 is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        md5 = download(remote, file, path, on_bytes=on_bytes)
    remember_digest(path, md5, workspace.digests)
    return Holding(file.name, path, file.size, md5, verification(file, streams=False, to_the_end=True))


def read_held(path: Path) -> Iterator[bytes]:
    """The tar inside an archive at hand, in chunks; opened when the first is asked for."""
    with path.open("rb") as file:
        yield from decompress(file)


def _place(file: RecordFile, workspace: Workspace) -> Path:
    if file.is_local:
        return Path(file.location)
    return workspace.archive(file.name, file.md5 or _digest_of_edition(file))


def _digest_of_edition(file: RecordFile) -> str:
    """What tells a file without a promised md5 from all others."""
    return hashlib.sha256(f"{file.location}\n{file.etag}".encode()).hexdigest()
