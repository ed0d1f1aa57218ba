"""A record whose server, network or proxy fails."""

import random
import socket
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Any, Final

import bigearthnet.store.reader
from campaign.registry import kind
from campaign.trial import Trial
from tests.support.archives import IMAGES
from tests.support.line import Line
from tests.support.record_server import Fault
from tests.support.runs import hurry

STALL_SECONDS: Final = 0.5

ZENODO_SAYS: Final = b"<h1>403 Forbidden</h1> Unusual traffic from your network"

FAULTS: Final[dict[str, Callable[[Random, int], Fault]]] = {
    "net-drop": lambda _, __: Fault(drop=True),
    "net-break": lambda chance, size: Fault(break_after=chance.randrange(size)),
    "net-stall": lambda chance, size: Fault(stall_after=chance.randrange(size)),
    "net-slow": lambda _, __: Fault(drip_seconds=0.05),
    "net-429": lambda _, __: Fault(status=429, retry_after="1"),
    "net-503": lambda _, __: Fault(status=503),
    "net-403": lambda _, __: Fault(status=403, says=ZENODO_SAYS),
    "net-404": lambda _, __: Fault(status=404),
    "net-no-range": lambda chance, size: Fault(ignore_range=True, break_after=chance.randrange(size)),
    "net-other-etag": lambda chance, size: Fault(
        headers={"ETag": f'"{chance.random()}"'}, break_after=chance.randrange(size)
    ),
    "net-short": lambda chance, size: Fault(headers={"Content-Length": str(chance.randrange(size))}),
    "net-corrupt": lambda chance, size: Fault(flip=chance.randrange(size)),
    "net-redirect": lambda _, __: Fault(redirect="http://127.0.0.2/elsewhere"),
}
"""Makes a fault of an answer, for a file of so many bytes."""


@dataclass(frozen=True, slots=True)
class Impatient:
    """In a child: wait a second where a run waits a minute."""

    def __call__(self) -> None:
        """Shorten the waits."""
        hurry(setattr, STALL_SECONDS)
        bigearthnet.store.reader.SLOW_SECONDS = STALL_SECONDS  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class BadNames:
    """In a child: the name of the record's server is not found in some of the tries."""

    port: int
    share: float

    def __call__(self) -> None:
        """Let look-ups fail."""
        Impatient()()
        look_up, chance = socket.getaddrinfo, random.Random(self.port)  # noqa: S311

        def fail(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
            if port == self.port and chance.random() < self.share:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            return look_up(host, port, *arguments, **options)

        socket.getaddrinfo = fail


@dataclass(frozen=True, slots=True)
class Proxied:
    """In a child: the record is read by a proxy."""

    url: str

    def __call__(self) -> None:
        """Set the proxy, for the record alone."""
        Impatient()()
        urllib.request.getproxies = lambda: {"http": self.url}
        urllib.request.proxy_bypass = lambda host, proxies=None: False  # noqa: ARG005


def _answers(trial: Trial, fault: Callable[[Random, int], Fault]) -> None:
    """Some answers, or all answers until the run ends, go wrong."""
    record, chance = trial.world.record, trial.random
    faults = dict[str, list[Fault]]()
    names = [chance.choice(record.names()) for _ in range(chance.choice([0, 1, 2]))]
    for name in [IMAGES, *names]:
        count = chance.choice([1, 2, 3, 200])
        size = (record.folder / name).stat().st_size
        faults[name] = [fault(chance, size) for _ in range(count)]
    _disturb(trial, Impatient(), faults)


def _disturb(
    trial: Trial, change: Callable[[], None], faults: Mapping[str, list[Fault]] = MappingProxyType({})
) -> None:
    in_bucket = trial.random.random() < 0.25
    home = trial.bucket_home() if in_bucket else trial.folder_home()
    trial.world.record.faults.update(faults)  # the home may have been prepared just now, from the record
    transfer = trial.random.choice(["keep", "stream"])
    trial.require_end(trial.begin(home, change=change, transfer=transfer), home)
    trial.world.record.faults.clear()
    trial.require_recovery(home, transfer=transfer)


for _name, _fault in FAULTS.items():
    kind(_name)(partial(_answers, fault=_fault))


@kind("net-dns")
def bad_names(trial: Trial) -> None:
    """Some look-ups of the server's name, or all of them, fail."""
    share = trial.random.choice([0.3, 1.0])
    _disturb(trial, BadNames(trial.world.record.server_port, share))


@kind("net-proxy")
def dying_proxy(trial: Trial) -> None:
    """A proxy breaks connections, or dies for good after some bytes."""
    with Line(trial.world.record.server_port) as line:
        size = (trial.world.record.folder / IMAGES).stat().st_size
        count = trial.random.choice([1, 3, 200])
        first = [None] * trial.random.randrange(6)
        line.breaks.extend([*first, *(trial.random.randrange(size) for _ in range(count))])
        if count == 200:
            line.breaks.extend([0] * 1000)
        _disturb(trial, Proxied(line.url))
