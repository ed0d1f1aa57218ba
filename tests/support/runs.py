"""Runs of `prepare` in this process, and the folders and buckets that they work in."""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import prefect.events.utilities
from prefect import Task
from prefect_aws import AwsClientParameters, AwsCredentials

import bigearthnet.source.opening
import bigearthnet.store.reader
import tasks.connect
import tasks.fetch
import tasks.freshness
import tasks.publish
import tasks.record
import tasks.subset
from bigearthnet.source.http import Http
from flows.prepare import prepare
from tests.support.places import BucketPlace, FolderPlace
from tests.support.published import CARD, Published, is_own
from tests.support.s3_server import REGION, S3Server

DEADLINE_SECONDS = 60

_blocks = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Home:
    """A work folder and a destination, and the name of the block that opens it."""

    work: Path
    place: FolderPlace | BucketPlace
    block: str = ""

    @classmethod
    def folder(cls, root: Path) -> Self:
        """An empty one in folders."""
        return cls(root / "work", FolderPlace(root))

    @property
    def destination(self) -> Path:
        assert isinstance(self.place, FolderPlace)
        return self.place.root / "store"

    @property
    def url(self) -> str:
        return self.place.open().url

    @property
    def options(self) -> dict[str, str]:
        """The parameters of a flow that works here."""
        return {"destination": self.url, "work_dir": str(self.work), "aws_credentials": self.block}

    def prepare(self, source: str | Path, **parameters: Any) -> dict[str, Any]:
        done: dict[str, Any] = prepare(**({"source": str(source), **self.options} | parameters))
        return done

    def beside(self, work: Path) -> "Home":
        """The same destination for a run with another work folder, as on another machine."""
        return Home(work, self.place, self.block)

    def files(self) -> dict[str, bytes]:
        """What is there beside the store's own files."""
        return {name: data for name, data in self.place.files().items() if not is_own(name)}

    def published(self, scratch: Path) -> Path:
        """A folder with a copy of what is published."""
        copy = Home.folder(scratch)
        for name, data in self.files().items():
            copy.place.put(name, data)
        return copy.destination

    def sha256(self) -> Published:
        return Published.of(self.files())

    def versions(self) -> dict[str, str]:
        """What changes whenever anything is written."""
        store = self.place.open()
        return {name: file.etag for name in self.files() if (file := store.head(name)) is not None}

    def is_published(self) -> bool:
        return CARD in self.files()

    def strays(self) -> set[str]:
        """Unfinished files in the work folder, but for what has arrived of archives."""
        names = {str(path.relative_to(self.work)) for path in self.work.rglob("*") if path.is_file()}
        hidden = {name for name in names if "/." in name.replace("/.bigearthnet", "")}
        return {name for name in hidden if not name.endswith(".part")}


def save_block(server: S3Server, **changes: str) -> str:
    """Save credentials on the tests' Prefect server; returns their name."""
    name = f"block-{os.getpid()}-{next(_blocks)}"
    keys = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key}
    url = changes.pop("url", server.url)
    block = AwsCredentials(
        **(keys | changes),
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=url),
    )
    block.save(name, overwrite=True)
    return name


def hurry(set_attribute: Callable[[object, str, object], None], stall_seconds: float = 0.5) -> None:
    """Let nothing wait for long: neither requests that fail, nor the retries of tasks.

    Without events the server knows no task runs, which would cost it more than the runs themselves.
    """
    set_attribute(prefect.events.utilities, "should_emit_events", lambda: False)
    quick = partial(Http, stall_seconds=stall_seconds, sleep=lambda _: None)
    set_attribute(bigearthnet.source.opening, "Http", quick)
    set_attribute(tasks.connect, "_ATTEMPTS", 2)
    set_attribute(bigearthnet.store.reader, "backoff_seconds", lambda _: 0.0)
    modules = (tasks.fetch, tasks.freshness, tasks.publish, tasks.record, tasks.subset)
    for found in {one for module in modules for one in vars(module).values() if isinstance(one, Task)}:
        set_attribute(found, "retry_delay_seconds", 0.01)
