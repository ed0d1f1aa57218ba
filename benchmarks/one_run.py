"""One run of `prepare` on one core, in a process of its own; prints what it took as JSON."""

import json
import os
import resource
import sys


def main(record_url: str, folder: str) -> None:
    """Run it against the Prefect server that the environment names."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from flows.prepare import prepare  # noqa: PLC0415 - it counts the cores when it is imported

    done = prepare(source=record_url, destination=f"{folder}/dataset", work_dir=f"{folder}/work")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"cpu_seconds": done["cpu_seconds"], "peak_mib": peak_kib / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
