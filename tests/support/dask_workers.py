"""A Dask scheduler and workers in processes of their own, each with a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from distributed import Client


@contextmanager
def _process(
    folder: Path, environment: Mapping[str, str], *command: str
) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True)
    own = {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect"), "TMPDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command, "--no-dashboard"],
            cwd=folder,
            env={**os.environ, **own, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def workers(
    root: Path, *environments: Mapping[str, str]
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Run a scheduler and a worker for each environment; gives its address, and the workers."""
    file = root / "scheduler.json"
    with ExitStack() as stack:
        scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        stack.enter_context(_process(root / "scheduler", {}, *scheduler))
        single = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
        started = [
            stack.enter_context(
                _process(root / f"worker-{i}", own, "worker", "--scheduler-file", str(file), *single)
            )
            for i, own in enumerate(environments)
        ]
        while not file.exists():
            assert started[0].poll() is None, (root / "worker-0" / "log").read_text()
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(len(started), timeout=60)
            address = client.scheduler.address
        yield address, started
