"""What server and worker are set to on a host of their own: `python -m deployments.ec2.environment`.

Printed as the EnvironmentFile of their systemd units. No secret is in it.
"""

import sys
from collections.abc import Mapping
from typing import Final

from deployments.settings import environment

PORT: Final = 4200
STATE: Final = "/var/lib/bigearthnet"

_LOOPS: Final = {
    # A t2.micro earns a tenth of its core; the server's loops are not to eat it while nothing happens.
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT30S",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "120",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "30",
    "PREFECT_WORKER_QUERY_SECONDS": "15",
}
_SMALL: Final = {
    "MALLOC_ARENA_MAX": "1",  # for one core; with several, what is freed in one is not there for another
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P3D",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P60D",  # of runs and their logs
}
_GUARDED: Final = {"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true"}
_PLACES: Final = {
    "PREFECT_HOME": f"{STATE}/prefect",
    "PREFECT_UI_STATIC_DIRECTORY": f"{STATE}/ui",  # the server writes it, and may not into its own code
}


def host_environment() -> dict[str, str]:
    """The settings of server and worker, by the names of their variables."""
    return environment(PORT, {**_LOOPS, **_SMALL, **_GUARDED, **_PLACES})


def environment_file(settings: Mapping[str, str]) -> str:
    """The settings as systemd reads them, a line each."""
    return "".join(f'{name}="{_escaped(value)}"\n' for name, value in sorted(settings.items()))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


if __name__ == "__main__":
    sys.stdout.write(environment_file(host_environment()))
