"""What must hold before anything of a worker is touched."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_URL, PREFECT_HOME


@contextmanager
def alone() -> Iterator[None]:
    """Be this host's only worker of this PREFECT_HOME until the block ends, or exit saying that there is one.

    The lock is the operating system's, and ends with the process.
    """
    path = PREFECT_HOME.value() / "worker.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"expected no other worker to hold {path}, found one at work; stop it first")
        yield


def require_server() -> None:
    """Exit unless the environment names a server: Prefect would start one that ends with this process."""
    if not PREFECT_API_URL.value():
        sys.exit(
            "expected the address of a Prefect server in PREFECT_API_URL, found none; "
            "start everything with `make serve`, or set it to http://127.0.0.1:4200/api"
        )
