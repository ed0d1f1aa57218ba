"""A real S3 server on loopback: OpenStack Swift, in a virtual environment of its own; see `places`."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HOME = Path(__file__).parents[2] / ".swift-venv"
# Swift 2.38 still imports pkg_resources.
REQUIREMENTS = ("swift==2.38.3", "eventlet==0.41.3", "PyECLib==1.8.0", "setuptools<81")
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it answers, and the keys of a user who may do everything and of one who may do nothing."""

    port: int
    access_key: str = "test:tester"
    secret_key: str = "testing"  # noqa: S105 (of a server that lives as long as the tests)
    stranger_key: str = "test:reader"
    stranger_secret: str = "reading"  # noqa: S105

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(
        self, access_key: str | None = None, secret_key: str | None = None, *, url: str | None = None
    ) -> "S3Client":
        return make_client(url or self.url, access_key or self.access_key, secret_key or self.secret_key)


@cache
def session() -> boto3.Session:
    """One for all tests: a new one reads the description of S3 anew, for longer than all else takes."""
    return boto3.Session()


def make_client(url: str, access_key: str, secret_key: str) -> "S3Client":
    """A client for a server that is no Amazon's: bucket names in the path, signature version 4."""
    return session().client(
        "s3",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "max_attempts": 2},
        ),
    )


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """Run the server, with its objects below an empty folder; skips the test if it cannot run here."""
    try:
        os.setxattr(folder, "user.test", b"1")
    except OSError as error:
        pytest.skip(f"Swift needs extended attributes, {folder} has none: {error.strerror}")
    python = _swift_python()
    main = Path(__file__).with_name("swift_main.py")
    pipe = subprocess.PIPE
    server = subprocess.Popen([python, main, folder], stdin=pipe, stdout=pipe, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        assert line, f"Swift did not start; see the logs in {folder}"
        yield S3Server(int(line))
    finally:
        server.stdin.close()  # what it ends with
        server.wait(30)
        server.stdout.close()


def memory_folder() -> str | None:
    """A folder in memory, which is twice as fast as a disk, if files there can have extended attributes."""
    memory = "/dev/shm"  # noqa: S108
    with suppress(OSError), NamedTemporaryFile(dir=memory) as file:
        os.setxattr(file.name, "user.test", b"1")
        return memory
    return None


def _swift_python() -> Path:
    """Python of the environment that Swift is in; it is made by the first who asks."""
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n")
    python, done = HOME / "env/bin/python", HOME / "done"
    wanted = "\n".join([sys.version, *REQUIREMENTS])
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != wanted:
            done.unlink(missing_ok=True)
            _run(sys.executable, "-m", "venv", "--clear", HOME / "env")
            _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS)
            done.write_text(wanted)
    return python


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Swift cannot be installed: {done.stderr.strip().splitlines()[-1]}")
