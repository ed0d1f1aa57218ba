"""Open sources and destinations with the credentials that a person names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final, cast

from bigearthnet.errors import CredentialsError, SourceError, StoreError
from bigearthnet.sample import SAMPLE_TITLE, make_sample
from bigearthnet.source.opening import Source, open_source
from bigearthnet.source.parallel import ONE, Connections
from bigearthnet.source.record import RECORD_FILES
from bigearthnet.source.stored import StoredSource
from bigearthnet.store import FolderStore, Store, names_bucket, parse_s3_url
from bigearthnet.store.disk import NEW, translate_os_errors
from bigearthnet.store.s3_url import hide_secrets
from bigearthnet.work.workspace import Workspace, folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from prefect_aws import AwsCredentials

    from bigearthnet.store.s3 import S3Store

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
    connections: Connections = ONE


def open_store(text: str, aws_credentials: str) -> Store:
    """Open a folder or `s3://bucket/prefix`; nothing is asked of a server yet.

    Args:
        text: what the person named.
        aws_credentials: name of an `AwsCredentials` block; empty: what boto3 finds by itself, such as an
            instance role.

    Raises:
        CredentialsError: there is no block of that name.
        StoreError: it is neither, or boto3 cannot use its settings.
    """
    if names_bucket(text):
        return _open_bucket(text, aws_credentials)
    return FolderStore(folder(text))


def open_signing_store(text: str, aws_credentials: str) -> "S3Store":
    """Open `s3://bucket/prefix` to sign links with the region of its bucket.

    Raises:
        CredentialsError: there is no block of that name.
        StoreError: it is no bucket, or the bucket cannot be reached.
    """
    region = _open_bucket(text, aws_credentials).region()
    return _open_bucket(text, aws_credentials, region)


def open_destination(text: str, aws_credentials: str, work: Workspace) -> Store:
    """Open a store for writing; errors as `open_store`, also if it and the work folder contain each other."""
    store, root = open_store(text, aws_credentials), work.root
    if store.folder and (root.is_relative_to(store.folder) or store.folder.is_relative_to(root)):
        raise StoreError(
            f"the work folder {root} and the destination {store.folder} must not contain each other. "
            "Choose another work_dir."
        )
    return store


def require_apart(source: Store, destination: Store) -> None:
    """Check that a dataset is not to replace the one that it is made from.

    Raises:
        StoreError: source and destination are the same.
    """
    if source.url == destination.url:
        raise StoreError(f"{source.url} is the source and the destination. Choose another destination.")


def open_record(text: str, aws_credentials: str, work: Workspace | None = None) -> Source:
    """Open a source; the embedded sample is made in the work folder if it is not there.

    Raises:
        CredentialsError: there is no block of that name.
        SourceError: it is no source.
        StoreError: the sample cannot be made, or its folder holds files of others.
    """
    if text.strip() == SAMPLE:
        if work is None:
            raise SourceError("the sample is made by prepare. Name its folder in the work folder instead.")
        store = FolderStore(work.sample)
        if store.head(RECORD_FILES[-1]) is None:  # the last one to be written
            with store.lock(SAMPLE), translate_os_errors("write", work.sample):
                make_sample(work.sample)
        return StoredSource(store, SAMPLE_TITLE)
    return open_source(text, lambda place: open_store(place, aws_credentials))


@contextmanager
def scratch_folders(work: Workspace) -> Iterator[None]:
    """Empty the folders that are of use to one run, now and at the end of the block.

    The caller has the lock of the work folder.
    """
    try:
        with translate_os_errors("write", work.root):
            clear_scratch(work)
            for draft in work.md5s.glob(f"*{NEW}"):  # of a note, left by a killed run
                draft.unlink()
        yield
    finally:
        for one in work.scratch:
            rmtree(one, ignore_errors=True)


def clear_scratch(work: Workspace) -> None:
    """Empty the folders that are of use to one run."""
    for one in work.scratch:
        rmtree(one, ignore_errors=True)
        one.mkdir(parents=True)


def _open_bucket(text: str, aws_credentials: str, region: str | None = None) -> "S3Store":
    # boto3 takes 30 MiB, which a folder does without.
    from bigearthnet.store.s3 import S3Store, translate_errors  # noqa: PLC0415

    bucket, prefix = parse_s3_url(text.strip())
    with translate_errors("open", text.strip()):
        client = s3_client(aws_credentials, region)
    return S3Store(client, bucket, prefix)


def s3_client(aws_credentials: str, region: str | None = None) -> "S3Client":
    """Make a client that signs by version 4 and retries requests by itself.

    Args:
        aws_credentials: name of an `AwsCredentials` block; empty: boto3's own chain.
        region: in place of the credentials' own.

    Raises:
        CredentialsError: there is no such block, or its endpoint is no URL.
    """
    credentials = _load(aws_credentials)
    parameters = credentials.aws_client_parameters
    elsewhere = parameters.endpoint_url or any(os.environ.get(name) for name in _ENDPOINTS)
    config: dict[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path" if elsewhere else "virtual"},  # links name the bucket's region
        "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        **(parameters.config or {}),
    }
    changes = {
        "aws_client_parameters": parameters.model_copy(update={"config": config}),
        "region_name": region or credentials.region_name,
    }
    try:
        return credentials.model_copy(update=changes).get_s3_client()
    except ValueError as error:
        raise CredentialsError(
            f"cannot use the settings of S3: {hide_secrets(str(error))}. Correct the endpoint."
        ) from None


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
