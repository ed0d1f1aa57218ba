"""The work folder: its layout. Folders that a person names."""

import os
import re
from pathlib import Path
from typing import Final

from bigearthnet.errors import StoreError
from bigearthnet.store.s3_url import hide_secrets

ROOTS: Final = "BIGEARTHNET_ROOTS"
"""Environment variable with folders, separated by `:`. Empty or unset: no limit."""


class Workspace:
    """Paths in the work folder. Everything in it can be made again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.archives = root / "archives"  # files of records, by their version
        self.md5s = root / "md5s"  # notes of the md5s of archives, so that an unchanged archive is read once
        self.sample = root / "sample"  # archives of the embedded sample
        # Of use to one run:
        self.bundles = root / "bundles"  # wait to be converted
        self.tiles = root / "tiles"  # shards and rows that were just converted
        self.staging = root / "staging"  # manifest, preview and central directories before they are published
        self.scratch = self.bundles, self.tiles, self.staging


def folder(text: str) -> Path:
    """Return the absolute path, without links, of a folder that a person names; it need not exist.

    Raises:
        StoreError: it is empty, a URL, outside of `ROOTS`, or cannot be looked up.
    """
    advice = "Write the whole path of a folder, such as /data/bigearthnet, without variables or quotes"
    if not text.strip() or re.search(r"^[\s'\"]|\0|^[a-z][a-z0-9+.-]*:/|(^|/)\$", text, re.IGNORECASE):
        shown = hide_secrets(text)
        raise StoreError(f"cannot use {shown!r}. {advice}. A bucket is written s3://bucket/prefix.")
    try:
        path = require_allowed(Path(text).expanduser().resolve())
        path.stat()
    except StoreError:
        raise
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user, or (before 3.13) links in a circle
        raise StoreError(
            f"cannot use {text!r}: {getattr(error, 'strerror', None) or error}. {advice}"
        ) from error
    return path


def require_allowed(path: Path) -> Path:
    """Return an absolute path without links, if it lies in one of the folders of `ROOTS`.

    Raises:
        StoreError: it lies elsewhere.
    """
    roots = [Path(root).resolve() for root in os.environ.get(ROOTS, "").split(os.pathsep) if root.strip()]
    if roots and not any(path.is_relative_to(root) for root in roots):
        allowed = " or ".join(map(str, roots))
        raise StoreError(
            f"cannot use {path}: {ROOTS} allows only what is below {allowed}. Choose a path there."
        )
    return path
