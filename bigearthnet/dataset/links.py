"""Links to files of a dataset in a bucket. They are secrets: whoever has one can download the file."""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bigearthnet.dataset.report import escape
from bigearthnet.errors import StoreError
from bigearthnet.store.disk import make_folder, replace_file, translate_os_errors
from bigearthnet.store.s3_url import hide_secrets
from bigearthnet.work.workspace import require_allowed

_FIRST_LINE: Final = "# Links to files of "


@dataclass(frozen=True, slots=True)
class Link:
    """A presigned link to the file `name`; no log may show it."""

    name: str
    url: str = field(repr=False)


def saved_as(name: str, names: Sequence[str], download_name: str) -> str:
    """What a browser saves a file as: `download_name`, with the file's own name if `names` are several."""
    if len(names) == 1 or not download_name:
        return download_name
    return f"{download_name}-{name.replace('/', '-')}"


def early_end(links: Collection[Link], ends_at: datetime, credentials_end: datetime | None) -> str:
    """Return a warning if links may end before `ends_at`, with temporary credentials; nothing otherwise.

    `credentials_end` is None if the credentials last, or do not say when they end.
    """
    if credentials_end is not None and credentials_end < ends_at:
        return (
            f"The links are signed with temporary credentials that end at {utc(credentials_end)}, and end "
            f"with them, not at {utc(ends_at)}. Share again then, or sign with lasting credentials."
        )
    if credentials_end is None and any("X-Amz-Security-Token=" in link.url for link in links):
        return (
            "The links are signed with temporary credentials that do not say when they end. "
            f"The links end with them, which may be before {utc(ends_at)}."
        )
    return ""


def links_path(text: str) -> Path:
    """The absolute path, without links, of the file that a person names.

    Raises:
        StoreError: it is a URL, a folder, no path, or outside of `ROOTS`.
    """
    with suppress(RuntimeError, PermissionError):  # no such user, links in a circle; a closed folder
        if text.strip() and not re.search(r"^[\s'\"]|\0|://|(^|/)\$", text):
            path = require_allowed(Path(text).expanduser().resolve())
            if not path.is_dir():
                return path
    raise StoreError(f"cannot write links to {hide_secrets(text)!r}. Name a file, such as ~/links.txt.")


def write_links(path: Path, url: str, links: Collection[Link], ends_at: datetime) -> None:
    """Write links to a file that only its owner can read (mode 0600), in place of earlier links.

    Lines that are no link begin with `#`.

    Raises:
        StoreError: the file cannot be written, or holds something else than links.
    """
    lines = [
        f"{_FIRST_LINE}{url}. They end at {utc(ends_at)}.",
        "# They are secrets: whoever has one can download the file.",
    ]
    for link in links:
        lines += ["", f"# {link.name}", link.url]
    with translate_os_errors("write the links to", path):
        if path.exists() and not _holds_links(path):
            raise StoreError(f"cannot write links to {path}: it is another file. Name a new one.")
        make_folder(path.parent)
        replace_file(path, ("\n".join(lines) + "\n").encode())


def _holds_links(path: Path) -> bool:
    if not path.is_file():  # a pipe would be waited for, a device has no end
        return False
    with path.open("rb") as file:
        return file.read(len(_FIRST_LINE)) == _FIRST_LINE.encode()


def links_as_markdown(url: str, links: Collection[Link], ends_at: datetime) -> str:
    """The links to files of the dataset at `url`, for a person to click."""
    lines = [f"Whoever has one of these links can download a file of {url} until {utc(ends_at)}.", ""]
    return "\n".join(lines + [f"- [{escape(link.name)}]({link.url})" for link in links])


def utc(moment: datetime) -> str:
    """A moment for a person, such as `2026-01-31 12:00:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
