"""Open sources and destinations with the credentials that a person names."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from bigearthnet.errors import CredentialsError, DestinationError, SourceError
from bigearthnet.sample.archives import make_sample
from bigearthnet.source import Http, Source, open_source
from bigearthnet.store import FolderStore, Store
from bigearthnet.work.workspace import Workspace, folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from prefect_aws import AwsCredentials

SAMPLE: Final = "sample"
"""The source that stands for the embedded sample."""

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_ATTEMPTS: Final = 10
_CONNECT_SECONDS, _READ_SECONDS = 20, 60


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What a run has opened: the source, the destination, and the work folder."""

    source: Source
    store: Store
    work: Workspace


class Connections:
    """Opens stores and sources of a run.

    Args:
        aws_credentials: name of an `AwsCredentials` block; empty: what boto3 finds by itself, such as an
            instance role.
        work: the work folder, for notes of digests and for the sample.
    """

    def __init__(self, aws_credentials: str, work: Workspace) -> None:
        self._aws_credentials = aws_credentials
        self._work = work

    def work(self) -> FolderStore:
        """Open the work folder."""
        return FolderStore(self._work.root, self._work.digests)

    def destination(self, text: str) -> Store:
        """Open a folder or `s3://bucket/prefix` for writing; nothing is asked of a server yet.

        Raises:
            CredentialsError: there is no block of that name.
            DestinationError: it is neither, or the work folder lies in it, or it in the work folder.
        """
        store = self._store(text, DestinationError)
        if store.folder is not None:
            _require_apart(self._work.root, store.folder)
        return store

    def folder(self, path: Path) -> FolderStore:
        """Open a folder for writing."""
        return FolderStore(path, self._work.digests)

    def published(self, text: str) -> Store:
        """Open a published dataset for reading; errors as `destination`, but SourceError."""
        return self._store(text, SourceError)

    def source(self, text: str) -> Source:
        """Open a source; the sample is made in the work folder if it is not there.

        Raises:
            CredentialsError: there is no block of that name.
            SourceError: it is no source.
        """
        if text.strip() == SAMPLE:
            make_sample(self._work.sample)
            text = str(self._work.sample)
        return open_source(text, lambda place: self._store(place, SourceError), Http())

    def _store(self, text: str, refusal: type[DestinationError] | type[SourceError]) -> Store:
        if text.strip().lower().startswith("s3:"):
            from bigearthnet.store.s3 import S3Store, parse_s3_url  # noqa: PLC0415 - 30 MiB, as prefect_aws

            bucket, prefix = parse_s3_url(text.strip(), refusal)
            return S3Store(s3_client(self._aws_credentials), bucket, prefix, refusal)
        return FolderStore(folder(text, refusal), self._work.digests, refusal)


def s3_client(aws_credentials: str, *, region: str | None = None) -> "S3Client":
    """Make a client that signs by version 4 and retries requests by itself.

    Args:
        aws_credentials: name of an `AwsCredentials` block; empty: boto3's own chain.
        region: in place of the credentials' own.

    Raises:
        CredentialsError: there is no such block.
    """
    credentials = _load(aws_credentials)
    parameters = credentials.aws_client_parameters
    elsewhere = parameters.endpoint_url or any(os.environ.get(name) for name in _ENDPOINTS)
    config: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path" if elsewhere else "virtual"},
        "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
    }
    changes: dict[str, Any] = {
        "aws_client_parameters": parameters.model_copy(update={"config": config | (parameters.config or {})})
    }
    if region is not None:
        changes["region_name"] = region
    return credentials.model_copy(update=changes).get_s3_client()


def _load(name: str) -> "AwsCredentials":
    from prefect_aws import AwsCredentials  # noqa: PLC0415 - 20 MiB that a run into a folder does without

    if not name:
        return AwsCredentials()
    try:
        return cast("AwsCredentials", AwsCredentials.load(name))
    except ValueError as error:
        raise CredentialsError(
            f"there is no AwsCredentials block called {name!r} on this Prefect server. Create it on the page "
            "Blocks, or leave the name empty to use an instance role or your AWS configuration."
        ) from error


def _require_apart(work: Path, destination: Path) -> None:
    if work == destination or work in destination.parents or destination in work.parents:
        raise DestinationError(
            f"the work folder {work} and the destination {destination} must not contain each other. "
            "Choose another work_dir."
        )
