"""Create or refresh work pool, deployments and automations on the server: `python -m deployments.deploy`."""

import argparse
import os
import sys
from collections.abc import Sequence

from deployments.settings import apply


def main(arguments: Sequence[str] | None = None) -> None:
    """Deploy."""
    parser = argparse.ArgumentParser(prog="python -m deployments.deploy", description="Deploy the flows.")
    parser.add_argument(
        "--reset",
        action="store_true",
        help="set everything to what prefect.yaml says: parameters, schedules, tags, limits, descriptions",
    )
    reset = parser.parse_args(arguments).reset
    apply()
    if not os.environ.get("PREFECT_API_URL"):  # Prefect would start a server that ends with this process
        sys.exit(
            "PREFECT_API_URL is not set. Start a server with `make serve`, "
            "then set it to http://127.0.0.1:4200/api."
        )
    from deployments.registry import deploy  # noqa: PLC0415 - Prefect reads its settings when it is imported

    deploy(reset=reset)


if __name__ == "__main__":
    main()
