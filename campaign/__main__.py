"""Try runs under faults, and print a table; the exit status is 1 if any trial failed."""

import argparse
import secrets
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import pytest

from campaign.registry import Kind, registered
from campaign.trial import Skipped, Trial
from campaign.world import World, open_world

SHORT_MINUTES = 3


@dataclass
class Tally:
    """Results of one kind."""

    trials: int = 0
    failed: int = 0
    seconds: float = 0
    skipped: str = ""
    kept: list[Path] = field(default_factory=list)


def main() -> int:
    """Run the campaign."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="time for all trials (%(default)s)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_MINUTES} minutes")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of a campaign to repeat")
    parser.add_argument("--kind", action="append", choices=registered(), help="only these; may be repeated")
    parser.add_argument("--trial", type=int, help="only the trial of this number, of one --kind")
    asked = parser.parse_args()
    kinds = {name: one for name, one in registered().items() if not asked.kind or name in asked.kind}
    if asked.trial is not None and len(kinds) != 1:
        parser.error("--trial needs one --kind")
    minutes = SHORT_MINUTES if asked.short else asked.minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"campaign of {minutes:g} minutes with --seed {asked.seed}", flush=True)
    folder = Path(mkdtemp(prefix="campaign-"))
    tallies = {name: Tally() for name in kinds}
    order = list(kinds.values())
    Random(asked.seed).shuffle(order)  # noqa: S311 - short campaigns try other kinds each time
    try:
        with open_world(folder / "world") as world:
            if asked.trial is not None:
                (one,) = kinds.values()
                _try(one, asked.trial, world, tallies[one.name], asked.seed)
            while asked.trial is None:
                left = began + 60 * minutes - time.monotonic()
                ready = [one for one in order if one.seconds <= left and not tallies[one.name].skipped]
                if not ready:
                    break
                one = min(ready, key=lambda one: tallies[one.name].trials / one.weight)
                _try(one, tallies[one.name].trials, world, tallies[one.name], asked.seed)
    finally:
        shutil.rmtree(folder / "world", ignore_errors=True)
        _print_table(tallies)
        with suppress(OSError):  # a failed trial is kept there
            folder.rmdir()
    return int(any(tally.failed for tally in tallies.values()))


def _try(kind: Kind, number: int, world: World, tally: Tally, seed: int) -> None:
    """Make one trial; what a failed one leaves is kept."""
    folder = world.folder.parent / f"{kind.name}-{number}"
    trial = Trial(world, folder, Random(f"{seed}:{kind.name}:{number}"))  # noqa: S311 - to be repeated
    began, result = time.monotonic(), "interrupted"
    try:
        with trial:
            kind.act(trial)
        result = "ok"
    except (Skipped, pytest.skip.Exception) as reason:
        tally.skipped = str(reason)
        result = f"skipped: {reason}"
    except Exception:  # of whatever kind, it goes to the table
        tally.failed += 1
        tally.kept.append(folder)
        result = f"FAILED\n{traceback.format_exc()}kept: {folder}"
        result += f"\nrepeat: python -m campaign --seed {seed} --kind {kind.name} --trial {number}"
        (folder / "failure.txt").write_text(result)
    finally:
        world.record.faults.clear()
        seconds = time.monotonic() - began
        print(f"{kind.name} {number}, {seconds:.0f} s: {result}", flush=True)
        if folder not in tally.kept:
            shutil.rmtree(folder, ignore_errors=True)
    if not tally.skipped:
        tally.trials += 1
        tally.seconds += seconds


def _print_table(tallies: Mapping[str, Tally]) -> None:
    every = tallies.values()
    total = Tally(
        sum(one.trials for one in every), sum(one.failed for one in every), sum(one.seconds for one in every)
    )
    print(f"\n{'kind':24} {'trials':>6} {'ok':>6} {'failed':>6} {'seconds':>7}")
    for name, tally in {**tallies, "all": total}.items():
        figures = f"{tally.trials:6} {tally.trials - tally.failed:6} {tally.failed:6} {tally.seconds:7.0f}"
        print(f"{name:24} {f'skipped: {tally.skipped}' if tally.skipped else figures}")
    for path in [path for tally in every for path in tally.kept]:
        print(f"kept: {path}")


if __name__ == "__main__":
    sys.exit(main())
