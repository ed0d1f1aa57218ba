"""OpenStack Swift with its S3 API on loopback; run by `s3_server` in Swift's own virtual environment.

usage: swift_main.py FOLDER

Writes configuration and objects below FOLDER, which must be empty, starts Swift's four servers, prints the
port of the S3 API once they answer, and ends with its standard input: also when whoever started it is killed.
"""

import getpass
import socket
import subprocess
import sys
import time
from pathlib import Path

from swift.common.ring import RingBuilder

STORES = ("account", "container", "object")
START_SECONDS = 60

# "copy" stands before "slo": in the other order, a copy of an object made of parts is one of its part list.
PIPELINE = (
    "catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo dlo "
    "versioned_writes symlink"
)
OPTIONS = {
    "s3api": {"location": "us-east-1", "s3_acl": "false", "min_segment_size": 5 << 20},
    "tempauth": {"user_test_tester": "testing .admin", "user_test_reader": "reading"},
    "slo": {"max_manifest_segments": 10_000},
    "versioned_writes": {"allow_versioned_writes": "true", "allow_object_versioning": "true"},
}
Settings = dict[str, object]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def write_config(path: Path, sections: dict[str, Settings]) -> Path:
    lines = []
    for name, settings in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in settings.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def common(folder: Path, port: int) -> Settings:
    return {
        "bind_ip": "127.0.0.1",
        "bind_port": port,
        "workers": 0,
        "user": getpass.getuser(),
        "swift_dir": folder,
        "devices": folder / "devices",
        "mount_check": "false",
        "disable_fallocate": "true",
        "log_level": "ERROR",
        "log_address": "/dev/null",
    }


def write_ring(folder: Path, store: str, port: int) -> None:
    """A ring of one device: there is one copy of everything."""
    ring = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
    address = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
    ring.add_dev({"id": 0, "region": 1, "zone": 1, "device": "disk", "weight": 1.0, "meta": "", **address})
    ring.rebalance()
    ring.get_ring().save(str(folder / f"{store}.ring.gz"))


def configure(folder: Path, ports: list[int]) -> dict[str, Path]:
    """Write everything that Swift reads; returns the configuration of each of its programs."""
    (folder / "devices/disk").mkdir(parents=True)
    hashes = {"swift_hash_path_prefix": "a", "swift_hash_path_suffix": "z"}
    write_config(folder / "swift.conf", {"swift-hash": hashes})
    configs = {}
    *store_ports, proxy_port = ports
    for store, port in zip(STORES, store_ports, strict=True):
        write_ring(folder, store, port)
        name = f"{store}-server"
        sections = {"pipeline:main": {"pipeline": name}, f"app:{name}": {"use": f"egg:swift#{store}"}}
        path = folder / f"{store}.conf"
        configs[f"swift-{name}"] = write_config(path, {"DEFAULT": common(folder, port), **sections})
    proxy = {"use": "egg:swift#proxy", "allow_account_management": "true", "account_autocreate": "true"}
    sections = {
        "DEFAULT": common(folder, proxy_port),
        "pipeline:main": {"pipeline": f"{PIPELINE} proxy-server"},
        "app:proxy-server": proxy,
        **{f"filter:{f}": {"use": f"egg:swift#{f}", **OPTIONS.get(f, {})} for f in PIPELINE.split()},
    }
    configs["swift-proxy-server"] = write_config(folder / "proxy.conf", sections)
    return configs


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main(folder: Path) -> None:
    ports = free_ports(len(STORES) + 1)
    programs = Path(sys.executable).parent
    servers = []
    try:
        for name, config in configure(folder, ports).items():
            log = (folder / f"{name}.log").open("wb")
            command, no_input = [sys.executable, programs / name, config], subprocess.DEVNULL
            servers.append(subprocess.Popen(command, stdin=no_input, stdout=log, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + START_SECONDS
        while not all(map(listens, ports)):
            if any(s.poll() is not None for s in servers) or time.monotonic() > deadline:
                sys.exit(f"Swift did not start; see the logs in {folder}")
            time.sleep(0.1)
        print(ports[-1], flush=True)  # noqa: T201
        sys.stdin.read()
    finally:
        for server in servers:
            server.kill()  # nothing of it is needed any more
        for server in servers:
            server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
