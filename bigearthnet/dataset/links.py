"""Presigned links: whoever has one can download a file until the link ends. They are secrets."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from bigearthnet.errors import DestinationError

_SIGNED: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Link:
    """A file, and the link to it, which no log may show."""

    name: str
    url: str = field(repr=False)

    @property
    def ends_at(self) -> datetime:
        """The end that the link states: the time of its signature, and its seconds from then."""
        query = parse_qs(urlsplit(self.url).query)
        signed_at = datetime.strptime(query["X-Amz-Date"][0], _SIGNED).replace(tzinfo=UTC)
        return signed_at + timedelta(seconds=int(query["X-Amz-Expires"][0]))

    @property
    def is_temporary(self) -> bool:
        """True if it is signed with temporary credentials, and ends with them at the latest."""
        return "X-Amz-Security-Token" in parse_qs(urlsplit(self.url).query)


@dataclass(frozen=True, slots=True)
class Validity:
    """When links end; `warning` is empty if they last as long as asked for."""

    ends_at: datetime
    warning: str


def validity(links: Sequence[Link], credentials_end: datetime | None) -> Validity:
    """Return when the first of the links ends.

    Args:
        links: at least one.
        credentials_end: when the credentials end that they are signed with; None if that is not known.
    """
    ends_at = min(link.ends_at for link in links)
    if not any(link.is_temporary for link in links):
        return Validity(ends_at, "")
    if credentials_end is None:
        warning = "The links are signed with temporary credentials and end with them, perhaps within hours."
        return Validity(ends_at, warning)
    if credentials_end < ends_at:
        warning = f"The links end at {utc(credentials_end)} already, with the credentials that signed them."
        return Validity(credentials_end, warning)
    return Validity(ends_at, "")


def download_name(name: str, names: Collection[str], wanted: str) -> str:
    """Return the name that a browser saves a file under: `wanted`, or for several files its beginning."""
    return wanted if not wanted or len(names) == 1 else f"{wanted}-{name.replace('/', '-')}"


def links_path(text: str) -> Path:
    """Return the path of the file for the links.

    Raises:
        DestinationError: it is a URL, a folder, or empty.
    """
    path = Path(text).expanduser()
    if not text.strip() or "://" in text or path.is_dir():
        raise DestinationError(f"cannot write the links to {text!r}: it is not a file. Name a file.")
    return path.resolve()


def links_text(url: str, links: Collection[Link], ends_at: datetime) -> str:
    """Return the links as text; lines that are no link begin with `#`."""
    lines = [
        f"# Links to files of {url}. They end at {utc(ends_at)}.",
        "# They are secrets: whoever has one can download the file.",
    ]
    for link in links:
        lines += ["", f"# {link.name}", link.url]
    return "\n".join(lines) + "\n"


def links_markdown(url: str, links: Collection[Link], ends_at: datetime) -> str:
    """Return the links as Markdown."""
    lines = [f"Whoever has one of these links can download a file of {url} until {utc(ends_at)}.", ""]
    return "\n".join(lines + [f"- [{link.name}]({link.url})" for link in links])


def utc(moment: datetime) -> str:
    """Return a moment such as `2026-01-31 12:00:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
