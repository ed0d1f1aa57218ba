"""What all trials share: servers, the dataset before each trial, and the bytes of an undisturbed run."""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeVar

from prefect import settings
from prefect.testing.utilities import prefect_test_harness

from tests.support.places import BucketPlace, new_bucket
from tests.support.published import Published
from tests.support.record_server import RecordServer
from tests.support.runs import Home, save_block
from tests.support.s3_server import S3Server, memory_folder, running
from tests.support.sample import make_sample
from tests.support.zygote import Zygote

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

OLD: Final[dict[str, Any]] = {
    "selection": {"max_patches": 2},
    "rendering": {"stretch": "minmax", "mask_classes": "clc_l1"},
}
"""Parameters of the dataset that is there before a trial: fewer patches, rendered in another way."""
BUCKET_STEP: Final = r"(PUT|POST|DELETE) /bucket"
TILE_SIZES: Final = (1, 2)
LARGE_TILE_SIZES: Final = (260, 1)
"""The images of the first tile have more than 5 MiB, so that a server can copy them as parts."""
RUN_SECONDS: Final = 120

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Start:
    """In a child before its run: log to a file, and make a change."""

    log: Path
    change: Callable[[], object] | None = None

    def __call__(self) -> None:
        """Do both."""
        with self.log.open("ab") as file:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(file.fileno(), stream.fileno())
        if self.change is not None:
            self.change()


@dataclass
class World:
    """Made by `open_world`, for all trials.

    Attributes:
        folder: of files that all trials share.
        record: serves a record of 3 patches in 2 tiles.
        old: files of the dataset that is there before a trial.
        new: files of the dataset that an undisturbed run publishes in its place, in a folder or a bucket.
        steps: of that run, in a folder; see `Kill`.
        seconds: that it took.
    """

    folder: Path
    record: RecordServer
    _stack: ExitStack
    _before: Mapping[str, Any] = field(default_factory=lambda: OLD)
    old: Published = field(init=False)
    new: Published = field(init=False)
    steps: list[str] = field(init=False)
    seconds: float = field(init=False)
    _shared: dict[object, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.old_home = Home.folder(self.folder / "old")
        self._prepare(self.old_home, **self._before)
        self.old = Published.read(self.old_home.destination)
        self.new_home = Home.folder(self.folder / "new")
        shutil.copytree(self.old_home.destination, self.new_home.destination)
        began = time.monotonic()
        self.steps = self._prepare(self.new_home)
        self.seconds = time.monotonic() - began
        self.new = Published.read(self.new_home.destination)

    def lasting(self, make: Callable[["World"], AbstractContextManager[T]]) -> T:
        """Enter what `make` returns at the first call; it is left at the end of the campaign."""
        if make not in self._shared:
            self._shared[make] = self._stack.enter_context(make(self))
        found: T = self._shared[make]
        return found

    @cached_property
    def s3(self) -> S3Server:
        """A real S3 server."""
        folder = self._stack.enter_context(TemporaryDirectory(prefix="swift-", dir=memory_folder()))
        return self._stack.enter_context(running(Path(folder)))

    @cached_property
    def old_bucket(self) -> Home:
        """The old dataset in a bucket."""
        home = Home(self.folder / "old-work", new_bucket(self.s3.client()), self.block)
        self._prepare(home, **self._before)
        return home

    @cached_property
    def _old_names(self) -> list[str]:
        return list(self.old_bucket.place.files())

    @cached_property
    def block(self) -> str:
        """The name of the credentials of the S3 server."""
        return save_block(self.s3)

    @cached_property
    def bucket_steps(self) -> list[str]:
        """The requests of an undisturbed run that change a bucket."""
        work = self.folder / "bucket-work"
        home = self.copy_old_bucket(work)
        try:
            return [step for step in self._prepare(home) if re.match(BUCKET_STEP, step)]
        finally:
            remove_bucket(home)

    def copy_old_bucket(self, work: Path) -> Home:
        """Copy the old dataset into a new bucket."""
        first = self.old_bucket.place
        assert isinstance(first, BucketPlace)
        place = new_bucket(first.client)
        for name in self._old_names:
            source: CopySourceTypeDef = {"Bucket": first.bucket, "Key": f"{first.prefix}/{name}"}
            first.client.copy_object(Bucket=place.bucket, Key=f"{place.prefix}/{name}", CopySource=source)
        return Home(work, place, self.block)

    def _prepare(self, home: Home, **parameters: Any) -> list[str]:
        """Run undisturbed; returns the steps."""
        with Zygote(self.folder / "steps", Start(self.folder / "undisturbed.log")) as zygote:
            wanted = {"source": self.record.record_url, **home.options, **parameters}
            zygote.begin("prepare", None, home.work.parent, **wanted)
            assert zygote.end(RUN_SECONDS) == 0
            return zygote.steps


@contextmanager
def large_world(world: World) -> Iterator[World]:
    """Give another world, for `World.lasting`: its first tile is published before, and large."""
    folder = world.folder / "large"
    sample = make_sample(folder / "record", *LARGE_TILE_SIZES)
    before = {"selection": {"tiles": [sample.tiles[0]]}}
    with RecordServer(sample.folder) as record, ExitStack() as stack:
        large = World(folder, record, stack, before)
        large.s3 = world.s3
        yield large


def remove_bucket(home: Home) -> None:
    """Delete a bucket with all that is in it, if it is there."""
    assert isinstance(home.place, BucketPlace)
    client, bucket = home.place.client, home.place.bucket
    if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
        return
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    if found := client.list_objects_v2(Bucket=bucket).get("Contents", []):
        client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": item["Key"]} for item in found]})
    client.delete_bucket(Bucket=bucket)


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """Start a Prefect server and a record, and prepare the datasets to compare with."""
    changes = {
        settings.PREFECT_LOGGING_TO_API_ENABLED: False,
        settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with ExitStack() as stack:
        stack.enter_context(prefect_test_harness(server_startup_timeout=120))
        stack.enter_context(settings.temporary_settings(changes))
        os.environ["PREFECT_API_URL"] = str(
            settings.PREFECT_API_URL.value()
        )  # for processes that are started
        sample = make_sample(folder / "record", *TILE_SIZES)
        record = stack.enter_context(RecordServer(sample.folder))
        yield World(folder, record, stack)
