"""The work folder: its layout."""

import re
from pathlib import Path

from bigearthnet.errors import StoreError


class Workspace:
    """Paths in the work folder. Everything in it can be made again.

    Attributes:
        root: the work folder.
        md5s: notes of the md5s of archives, so that an unchanged archive is read once.
        archives: files of records, by their md5.
        sample: archives of the embedded sample.
        bundles: tile bundles that wait to be converted; like the next two, of use to one run.
        tiles: shards and rows that were just converted.
        staging: manifest, preview and central directories before they are published.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.md5s, self.archives = root / "md5s", root / "archives"
        self.sample = root / "sample"
        self.bundles, self.tiles, self.staging = root / "bundles", root / "tiles", root / "staging"


def folder(text: str) -> Path:
    """Return the absolute path, without links, of a folder that a person names; it need not exist.

    Raises:
        StoreError: it is empty, a URL, or cannot be looked up.
    """
    advice = "Write the whole path of a folder, such as /data/bigearthnet, without variables"
    if not text.strip() or re.search(r"\0|^[a-z][a-z0-9+.-]*:/|(^|/)\$", text, re.IGNORECASE):
        raise StoreError(f"cannot use {text!r}. {advice}. A bucket is written s3://bucket/prefix.")
    try:
        path = Path(text).expanduser().resolve()
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user, or (before 3.13) links in a circle
        raise StoreError(
            f"cannot use {text!r}: {getattr(error, 'strerror', None) or error}. {advice}"
        ) from error
    return path
