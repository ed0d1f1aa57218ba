"""Notes of the SHA-256 of local files, so that a file that has not changed is read once."""

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bigearthnet.store.disk import make_folder, replace_file


class _Note(BaseModel):
    """A file's digest, and the version that it is of."""

    model_config = ConfigDict(strict=True, extra="forbid")
    etag: str
    sha256: str


def known_digest(path: Path, etag: str, notes: Path) -> str | None:
    """SHA-256 (hex) of that version of a file; None where it was not noted."""
    try:
        note = _Note.model_validate_json(_note_path(path, notes).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return note.sha256 if note.etag == etag else None


def note_digest(path: Path, etag: str, sha256: str, notes: Path) -> None:
    """Note the SHA-256 (hex) of a version of a file.

    Args:
        path: of the file.
        etag: of the version, see `etag_of`.
        sha256: of its bytes.
        notes: folder of the notes; made if need be.
    """
    make_folder(notes)
    replace_file(_note_path(path, notes), _Note(etag=etag, sha256=sha256).model_dump_json().encode())


def _note_path(path: Path, notes: Path) -> Path:
    return notes / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()}.json"
