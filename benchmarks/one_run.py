"""One run of `prepare` on one core, in a process of its own; prints what it took as JSON."""

import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from bigearthnet.options import Transfer


def main(record_url: str, destination: str, work_dir: str, transfer: Transfer) -> None:
    """Run it against the Prefect server, and the S3 server, that the environment names."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sent = _count_bytes_to(urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).port)
    from flows.prepare import prepare  # noqa: PLC0415 - it counts the cores when it is imported

    done = prepare(source=record_url, destination=destination, work_dir=work_dir, transfer=transfer)
    # Not ru_maxrss, which begins with the memory of the process that started this one.
    peak_kib = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])
    took = {"cpu_seconds": done["cpu_seconds"], "peak_mib": peak_kib / 1024, "bytes_sent": sum(sent)}
    print(json.dumps(took))


def _count_bytes_to(port: int | None) -> list[int]:
    """What is sent over HTTP to a port of loopback, headers included, filled while it goes on."""
    sent: list[int] = []

    def on_event(event: str, arguments: tuple[object, ...]) -> None:
        if event != "http.client.send" or port is None:
            return
        connection, data = arguments
        if getattr(connection, "port", None) == port and isinstance(data, bytes | bytearray | memoryview):
            sent.append(len(data))

    sys.addaudithook(on_event)
    return sent


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # what prepare does not know, it refuses
