"""Print the settings of the host's server and worker: `python -m deployments.ec2.environment`.

The output is the EnvironmentFile of their systemd units. It holds no secret.
"""

from typing import Final

from deployments.settings import environment

PORT: Final = 4200
STATE: Final = "/var/lib/bigearthnet"

_SETTINGS: Final = {
    "MALLOC_ARENA_MAX": "1",  # less memory, at no cost on a single core
    "PREFECT_HOME": f"{STATE}/prefect",
    "PREFECT_UI_STATIC_DIRECTORY": f"{STATE}/ui",  # the server writes there; its own code is read-only
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P3D",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P60D",  # runs and their logs
    # A t2.micro earns a tenth of its core in CPU credits: the server's loops run less often.
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


def host_environment() -> dict[str, str]:
    """Return the settings of server and worker, by the names of their variables."""
    return environment(PORT, _SETTINGS)


if __name__ == "__main__":
    for name, value in sorted(host_environment().items()):
        print(f'{name}="{value}"')
