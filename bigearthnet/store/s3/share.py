"""Presigned links: whoever has one can download a file until the link ends. They are secrets."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from botocore.exceptions import ClientError

from bigearthnet.errors import DestinationError
from bigearthnet.store.s3.errors import told
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.place import Place
from bigearthnet.work.digests import replace_text

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_AMAZON: Final = (".amazonaws.com", ".amazonaws.com.cn")
_DATE: Final = "X-Amz-Date"
_SIGNED: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Link:
    """A file, and the link to it, which no log may show."""

    name: str
    url: str = field(repr=False)

    @property
    def ends_at(self) -> datetime:
        """When it ends by what it says itself: the time of its signature, and the seconds from then."""
        query = parse_qs(urlsplit(self.url).query)
        signed_at = datetime.strptime(query[_DATE][0], _SIGNED).replace(tzinfo=UTC)
        return signed_at + timedelta(seconds=int(query["X-Amz-Expires"][0]))

    @property
    def is_of_a_session(self) -> bool:
        """Whether it is signed with temporary credentials, which it cannot outlive."""
        return "X-Amz-Security-Token" in parse_qs(urlsplit(self.url).query)


@dataclass(frozen=True, slots=True)
class Life:
    """When links end, and what is to be said of it; the warning is empty if nothing is."""

    ends_at: datetime
    warning: str


def region_of(bucket: Bucket) -> str | None:
    """The region that links to the bucket are to be signed for; a wrong one is refused when they are used.

    Returns:
        The region; None to leave it as it is, as the server is not Amazon's, or does not say.

    Raises:
        TransferError: the server does not answer.
        SourceError, DestinationError: there are no credentials to ask with (the bucket's `refusal`).
    """
    if not str(urlsplit(bucket.client.meta.endpoint_url).hostname).endswith(_AMAZON):
        return None
    answer: Any
    with told("find the region of", str(bucket.place), bucket.refusal):
        try:
            answer = bucket.client.head_bucket(Bucket=bucket.place.bucket)
        except ClientError as error:  # a refusal says the region, too
            answer = error.response
    region: str | None = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    return region


def sign(bucket: Bucket, names: Sequence[str], minutes: int, download_name: str) -> tuple[Link, ...]:
    """Links to objects; the server is not asked.

    Args:
        bucket: where they lie; its client signs.
        names: of the objects.
        minutes: from now until the links end.
        download_name: what a browser saves the object as. Of several objects it is the beginning of that
            name, followed by the object's own. Empty: as the link ends.

    Raises:
        SourceError, DestinationError: there are no credentials to sign with, or they are to sign by another
            version than 4 (the bucket's `refusal`).
    """
    links = []
    for name in names:
        request = {"Bucket": bucket.place.bucket, "Key": bucket.place.key(name)}
        if download_name:
            request["ResponseContentDisposition"] = disposition(_saved_as(name, names, download_name))
        with told("sign a link to", bucket.place.url(name), bucket.refusal):
            url = bucket.client.generate_presigned_url("get_object", Params=request, ExpiresIn=minutes * 60)
        if _DATE not in parse_qs(urlsplit(url).query):
            raise bucket.refusal(
                f"expected to sign a link to {bucket.place.url(name)} by version 4, found that the "
                "credentials ask for another one; take signature_version out of their configuration"
            )
        links.append(Link(name, url))
    return tuple(links)


def disposition(file_name: str) -> str:
    """The header Content-Disposition by which a browser saves what it gets under a name."""
    message = Message()
    message.add_header("Content-Disposition", "attachment", filename=file_name)
    return str(message["Content-Disposition"])


def credentials_end(client: "S3Client") -> datetime | None:
    """When the credentials of a client end; None if they do not end, or do not say."""
    credentials = getattr(client, "_get_credentials", lambda: None)()  # botocore shows them nowhere else
    ends_at = getattr(credentials, "_expiry_time", None)
    return ends_at.astimezone(UTC) if isinstance(ends_at, datetime) else None


def life_of(links: Sequence[Link], session_end: datetime | None) -> Life:
    """When the first of the links ends.

    Args:
        links: one at least.
        session_end: when the credentials end that they are signed with; None if that is not known.
    """
    ends_at = min(link.ends_at for link in links)
    if not any(link.is_of_a_session for link in links):
        return Life(ends_at, "")
    if session_end is None:
        return Life(
            ends_at,
            "The links are signed with temporary credentials that do not say when they end; "
            f"links end with them, which may be before {utc(ends_at)}",
        )
    if session_end >= ends_at:
        return Life(ends_at, "")
    return Life(
        session_end,
        f"The links are signed with temporary credentials that end at {utc(session_end)}, and end with them, "
        f"not at {utc(ends_at)}; share again then, or sign with lasting credentials",
    )


def links_path(text: str) -> Path:
    """The file that a person means, whole.

    Raises:
        DestinationError: it is a URL, a folder, or nothing.
    """
    path = Path(text).expanduser().absolute()
    if not text.strip() or "://" in text or path.is_dir():
        raise DestinationError(f"expected a file for the links, such as ~/links.txt, found {text!r}")
    return path


def write_links(path: Path, place: Place, links: Collection[Link], ends_at: datetime) -> None:
    """Write links to a file that its owner alone can read (mode 0600), in place of what was there.

    Lines that are no link begin with `#`.

    Raises:
        DestinationError: the file cannot be written.
    """
    lines = [
        f"# Links to files of {place}. They end at {utc(ends_at)}.",
        "# They are secrets: whoever has one can download the file.",
    ]
    for link in links:
        lines += ["", f"# {link.name}", link.url]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise DestinationError(
            f"expected to be able to write the links to {path}, found: {error.strerror}; choose another file"
        ) from error


def links_as_markdown(place: Place, links: Collection[Link], ends_at: datetime) -> str:
    """The links for a person to click."""
    lines = [f"Whoever has one of these links can download a file of {place} until {utc(ends_at)}.", ""]
    return "\n".join(lines + [f"- [{link.name}]({link.url})" for link in links])


def utc(moment: datetime) -> str:
    """A moment for a person, such as `2026-01-31 12:00:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _saved_as(name: str, names: Sequence[str], download_name: str) -> str:
    return download_name if len(names) == 1 else f"{download_name}-{name.replace('/', '-')}"
