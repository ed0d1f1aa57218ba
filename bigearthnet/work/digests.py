"""Digests of files, and a memo of them, so that a file that has not changed is hashed once."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

BLOCK_BYTES = 1 << 20


class _Memo(BaseModel):
    """A file as it was when it was hashed."""

    model_config = ConfigDict(strict=True, extra="forbid")
    size: int
    mtime_ns: int
    inode: int
    digest: str = Field(pattern=r"^[0-9a-f]{32,64}$")


def md5_of_file(path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """The md5 of a file, hexadecimal.

    Args:
        path: the file; it is read once, in blocks of 1 MiB.
        on_bytes: told the size of each block.
    """
    digest = hashlib.md5(usedforsecurity=False)
    block = memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
            on_bytes(count)
    return digest.hexdigest()


def known_digest(path: Path, memo: Path) -> str | None:
    """The digest that `remember_digest` was given, or None where the file is another one by now.

    Args:
        path: the file.
        memo: the folder of the memos; a memo that cannot be read counts as none.
    """
    try:
        found = _Memo.model_validate_json(_memo_path(path, memo).read_bytes())
        now = _look(path, found.digest)
    except (FileNotFoundError, ValidationError):
        return None
    return found.digest if found == now else None


def remember_digest(path: Path, digest: str, memo: Path) -> None:
    """Keep the md5 or SHA-256 of a file for as long as its size, time of change and inode stay.

    Args:
        path: the file, as it was hashed.
        digest: hexadecimal.
        memo: the folder of the memos; made if need be.
    """
    memo.mkdir(parents=True, exist_ok=True)
    replace_text(_memo_path(path, memo), _look(path, digest).model_dump_json())


def replace_text(path: Path, text: str) -> None:
    """Write a small file beside its place, then move it there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _memo_path(path: Path, memo: Path) -> Path:
    return memo / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()}.json"


def _look(path: Path, digest: str) -> _Memo:
    status = path.stat()
    return _Memo(size=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino, digest=digest)
