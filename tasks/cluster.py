"""Workers on other machines: a Dask cluster, to which conversions are sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import Task
from prefect.futures import PrefectFuture

from bigearthnet.errors import InstallationError, TransferError, plain
from bigearthnet.options import Runner
from bigearthnet.work.workspace import Workspace
from tasks.convert import CONVERTERS
from tasks.heartbeat import still_running

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """A connected cluster, and the block that its workers open the destination with."""

    tasks: "DaskTaskRunner"
    aws_credentials: str

    @property
    def waiting(self) -> int:
        """Tiles that may be between extraction and the end of conversion: one waits for each worker."""
        threads = _threads(self.tasks)
        return max(sum(threads.values()) + len(threads), 1)

    def submit(self, task: Task[P, R], **parameters: Any) -> PrefectFuture[R]:
        """Send a task to a worker. If that ends, another one begins it anew."""
        return self.tasks.submit(task, {**parameters, "aws_credentials": self.aws_credentials})

    def wait(self, made: PrefectFuture[R], tile: str) -> R:
        """Return what a worker made of a tile; raises TransferError if the cluster lost it."""
        from distributed.client import FutureCancelledError  # noqa: PLC0415 - an extra
        from distributed.scheduler import KilledWorker  # noqa: PLC0415 - an extra

        try:
            with still_running(f"waiting for {tile}"):
                return made.result()
        except (FutureCancelledError, KilledWorker) as error:
            raise TransferError(
                f"the cluster lost {tile}: {plain(error)}. Look at the logs of the scheduler and of its "
                "workers, then run again."
            ) from error


@contextmanager
def connected(
    runner: Runner, scheduler: str, aws_credentials: str, work: Workspace
) -> Iterator[Cluster | None]:
    """Connect to a Dask scheduler, or start workers on this machine if it is empty; None for threads.

    At the end of the block, tasks that have not begun are cancelled.

    Raises:
        InstallationError: Dask is not installed.
        TransferError: the scheduler does not answer.
    """
    if runner == "threads":
        yield None
        return
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InstallationError(
            f"runner: dask needs the extra dask ({plain(error)}). Run uv sync --extra dask, or "
            "pip install 'bigearthnet-prefect[dask]', or use runner: threads."
        ) from error
    local = {
        "n_workers": CONVERTERS,
        "threads_per_worker": 1,
        "local_directory": str(work.bundles),
        "dashboard_address": None,
    }
    tasks = DaskTaskRunner(address=scheduler) if scheduler else DaskTaskRunner(cluster_kwargs=local)
    with tasks:
        try:
            _threads(tasks)
        except (OSError, ValueError) as error:
            raise TransferError(
                f"cannot reach the Dask scheduler {scheduler or 'on this machine'}: {plain(error)}. "
                "Check that it runs, and that its address is such as tcp://10.0.0.5:8786."
            ) from error
        yield Cluster(tasks, aws_credentials)


def _threads(tasks: "DaskTaskRunner") -> dict[str, int]:
    """Ask the scheduler for its workers' addresses and numbers of threads; connects if need be."""
    found: dict[str, int] = tasks.client.nthreads()  # type: ignore[no-untyped-call]
    return found
