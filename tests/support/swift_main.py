"""OpenStack Swift with its S3 API on loopback; run by `s3_server` in Swift's own virtual environment.

usage: swift_main.py FOLDER

Writes configuration and objects below FOLDER, which must be empty, starts Swift's four servers, prints the
port of the S3 API once they answer, and ends with its standard input: also when whoever started it is killed.
"""

import getpass
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from swift.account import server as _account  # noqa: F401 - imported once, before the servers are forked
from swift.common.middleware.s3api import s3api as _s3api  # noqa: F401
from swift.common.ring import RingBuilder
from swift.common.wsgi import run_wsgi
from swift.container import server as _container  # noqa: F401
from swift.obj import server as _obj  # noqa: F401
from swift.proxy import server as _proxy  # noqa: F401

STORES = ("account", "container", "object")
START_SECONDS = 60

# "copy" stands before "slo": in the other order, a copy of an object made of parts is one of its part list.
PIPELINE = (
    "catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo "
    "versioned_writes symlink"
)
OPTIONS = {
    "cache": {"use": "call:swift_main:cache_filter"},
    "s3api": {"location": "us-east-1", "s3_acl": "false", "min_segment_size": 5 << 20},
    "tempauth": {"user_test_tester": "testing .admin", "user_test_reader": "reading"},
    "slo": {"max_manifest_segments": 10_000},
    "versioned_writes": {"allow_versioned_writes": "true", "allow_object_versioning": "true"},
}
Settings = dict[str, object]


class Cache:
    """Takes the place of memcached: accounts and buckets that are there. The proxy drops what it changes."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def get(self, key: str, **_: object) -> object:
        return json.loads(self._kept.get(key, "null"))

    def set(self, key: str, value: object, **_: object) -> None:
        self._kept[key] = json.dumps(value)

    def delete(self, key: str, **_: object) -> None:
        self._kept.pop(key, None)


def cache_filter(_: object, **__: object) -> Callable[..., object]:
    """The factory of a middleware, as Paste calls it."""
    cache = Cache()

    def around(app: Callable[..., object]) -> Callable[..., object]:
        return lambda environ, start: app(environ | {"swift.cache": cache}, start)

    return around


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
        configs[name] = write_config(path, {"DEFAULT": common(folder, port), **sections})
    proxy = {"use": "egg:swift#proxy", "allow_account_management": "true", "account_autocreate": "true"}
    sections = {
        "DEFAULT": common(folder, proxy_port),
        "pipeline:main": {"pipeline": f"{PIPELINE} proxy-server"},
        "app:proxy-server": proxy,
        **{f"filter:{f}": {"use": f"egg:swift#{f}"} | OPTIONS.get(f, {}) for f in PIPELINE.split()},
    }
    configs["proxy-server"] = write_config(folder / "proxy.conf", sections)
    return configs


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def start(name: str, config: Path, log: Path) -> int:
    """Fork a server, which writes to a log; returns its process id."""
    if process := os.fork():
        return process
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
        for stream in (1, 2):
            os.dup2(file, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        run_wsgi(str(config), name)
    finally:
        os._exit(1)


def main(folder: Path) -> None:
    ports = free_ports(len(STORES) + 1)
    servers: list[int] = []
    try:
        for name, config in configure(folder, ports).items():
            servers.append(start(name, config, folder / f"{name}.log"))
        deadline = time.monotonic() + START_SECONDS
        while not all(map(listens, ports)):
            if any(os.waitpid(s, os.WNOHANG)[0] for s in servers) or time.monotonic() > deadline:
                sys.exit(f"Swift did not start; see the logs in {folder}")
            time.sleep(0.1)
        print(ports[-1], flush=True)  # noqa: T201
        sys.stdin.read()
    finally:
        for server in servers:
            with suppress(OSError):  # it has ended before
                os.kill(server, signal.SIGKILL)  # nothing of it is needed any more
                os.waitpid(server, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
