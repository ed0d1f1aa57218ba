"""Notes of digests of local files, so that a file that has not changed is read once."""

import hashlib
import os
from pathlib import Path

from bigearthnet.store.disk import make_folder, replace_file


def known_digest(path: Path, etag: str, notes: Path) -> str | None:
    """Digest (hex) of that version of a file; None where it was not noted."""
    try:
        noted, _, digest = _note_of(path, notes).read_text(errors="replace").partition(" ")
    except FileNotFoundError:
        return None
    return digest if noted == etag else None


def note_digest(path: Path, etag: str, digest: str, notes: Path) -> None:
    """Note the digest (hex) of a version of a file in a folder, which is made if need be."""
    make_folder(notes)
    replace_file(_note_of(path, notes), f"{etag} {digest}".encode())


def _note_of(path: Path, notes: Path) -> Path:
    return notes / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
