"""Feed the parsers nearly valid input, and keep what they neither read nor refuse in tests/data/fuzz."""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fuzz.files import FILES
from fuzz.run import Finding, Result, fuzz
from fuzz.servers import SERVERS

PARSERS: Final = (*FILES, *SERVERS)
KEPT: Final = Path(__file__).parents[1] / "tests" / "data" / "fuzz"
KEPT_BYTES: Final = 10_000
"""Most bytes of an input that is kept; of a larger one its number is printed, which gives it again."""


def kept(parser: str) -> Sequence[bytes]:
    """Return the inputs that were findings once."""
    return [path.read_bytes() for path in sorted((KEPT / parser).glob("*"))]


def main() -> int:
    """Fuzz the parsers; minutes for 100,000 inputs each."""
    known = {make.__name__: make for make in PARSERS}
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("parsers", nargs="*", metavar="parser", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each parser (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (%(default)s)")
    asked = parser.parse_args()
    found = False
    print("parser       accepted  refused  CPU ms  MiB  (most of one input)  findings")
    for name in asked.parsers or known:
        (result,) = fuzz([known[name]], asked.seed, asked.inputs, kept)
        _print(result)
        found |= bool(result.findings)
    return int(found)


def _print(result: Result) -> None:
    print(
        f"{result.parser:<10} {result.accepted:>10,} {result.refused:>8,} {result.cpu_seconds * 1000:>7.0f} "
        f"{result.memory_bytes >> 20:>4}  {sum(result.found.values()):>29,}"
    )
    for finding in result.findings:
        print(f"  input {finding.index} ({_keep(result.parser, finding)}): {finding.what}")
    sys.stdout.flush()


def _keep(parser: str, finding: Finding) -> str:
    if len(finding.data) > KEPT_BYTES:
        return f"{len(finding.data):,} bytes, too many to keep"
    path = KEPT / parser / hashlib.sha1(finding.data, usedforsecurity=False).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(finding.data)
    return str(path.relative_to(KEPT))


if __name__ == "__main__":
    sys.exit(main())
