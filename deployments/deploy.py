"""Bring work pool, deployments and automations to the server: `python -m deployments.deploy`.

Done again, it changes nothing that a person has changed on the server: a paused schedule stays paused.
"""

import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments import automations
from deployments.guard import require_server
from deployments.settings import POOL

ROOT = Path(__file__).resolve().parents[1]
"""The folder of prefect.yaml; runs start in it."""


def deploy() -> None:
    """Have everything on the server that the environment names."""
    with get_client(sync_client=True) as client:
        _ensure_pool(client)
        _deploy_all()
        automations.ensure(client)


def _ensure_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(
                name=POOL,
                type=ProcessWorker.type,
                description="Runs on this host, one at a time.",
                base_job_template=ProcessWorker.get_default_base_job_template(),
            )
        )


def _deploy_all() -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(  # noqa: S603 - arguments of our own
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(
            f"{done.stdout}\nexpected every deployment of {ROOT / 'prefect.yaml'} on the server; see above"
        )


def main() -> None:
    """Deploy."""
    require_server()
    deploy()


if __name__ == "__main__":
    main()
