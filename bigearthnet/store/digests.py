"""Notes of digests of local files, so that a file that has not changed is read once."""

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bigearthnet.store.disk import make_folder, replace_file


class _Note(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    etag: str
    digest: str


def known_digest(path: Path, etag: str, notes: Path) -> str | None:
    """Digest (hex) of that version of a file; None where it was not noted."""
    try:
        note = _Note.model_validate_json(_note_path(path, notes).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return note.digest if note.etag == etag else None


def note_digest(path: Path, etag: str, digest: str, notes: Path) -> None:
    """Note the digest (hex) of a version of a file in a folder, which is made if need be."""
    make_folder(notes)
    replace_file(_note_path(path, notes), _Note(etag=etag, digest=digest).model_dump_json().encode())


def _note_path(path: Path, notes: Path) -> Path:
    return notes / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()}.json"
