"""What the Prefect server and worker of this project are set to, as environment variables.

`serve` gives them to both; units of a service manager do so in the same way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

POOL: Final = "bigearthnet"
"""Name of the work pool."""
TAG: Final = "bigearthnet"
"""Tag of every deployment in prefect.yaml, and so of its runs."""
HOST: Final = "127.0.0.1"
HEARTBEAT_SECONDS: Final = 30
"""How often a run says that it is alive: the least that Prefect allows."""

_DEFAULTS: Final = {
    "PREFECT_HOME": "~/.prefect",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT10S",  # how often missing heartbeats are looked for
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # a small database keeps memory low
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",  # what runs is what is installed here
    # Prefect's own way, PREFECT_LOGGING_EXTRA_LOGGERS, gives our logger no level, so that INFO would be lost.
    "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("logging.yml")),
    "PREFECT_LOGGING_COLORS": "false",
}


def environment(port: int, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of server and worker; what a person has set goes before the defaults.

    Args:
        port: that the server listens on, on this host's loopback only.
        given: the environment so far.
    """
    url = f"http://{HOST}:{port}"
    settings = {**_DEFAULTS, **given}
    home = Path(settings["PREFECT_HOME"]).expanduser().resolve()
    return settings | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{url}/api",  # the UI, too, would ask port 4200 otherwise
        "PREFECT_UI_URL": url,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        # Pages of other sites, open in the same browser, are to start no runs.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{url},http://localhost:{port}",
    }
