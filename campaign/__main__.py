"""Try runs under faults, and print a table; the exit status is 1 if any trial failed."""

import argparse
import secrets
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping
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
    if not any(tally.failed for tally in tallies.values()):
        shutil.rmtree(folder)
        return 0
    return 1


def _try(kind: Kind, number: int, world: World, tally: Tally, seed: int) -> None:
    """Make one trial; what a failed one leaves is kept."""
    folder = world.folder.parent / f"{kind.name}-{number}"
    trial = Trial(world, folder, Random(f"{seed}:{kind.name}:{number}"))  # noqa: S311 - to be repeated
    began = time.monotonic()
    try:
        with trial:
            kind.act(trial)
    except (Skipped, pytest.skip.Exception) as reason:
        tally.skipped = str(reason)
    except Exception:  # of whatever kind, it goes to the table
        tally.failed += 1
        tally.kept.append(folder)
        (folder / "failure.txt").write_text(traceback.format_exc())
        print(f"\nFAILED: {traceback.format_exc()}\nkept: {folder}")
        print(f"repeat: python -m campaign --seed {seed} --kind {kind.name} --trial {number}", flush=True)
    finally:
        world.record.faults.clear()
    if folder not in tally.kept:
        shutil.rmtree(folder)
    if not tally.skipped:
        tally.trials += 1
        tally.seconds += time.monotonic() - began


def _print_table(tallies: Mapping[str, Tally]) -> None:
    print(f"\n{'kind':24} {'trials':>6} {'ok':>6} {'failed':>6} {'seconds':>7}")
    for name, tally in tallies.items():
        if tally.skipped:
            print(f"{name:24} skipped: {tally.skipped}")
        else:
            figures = (tally.trials, tally.trials - tally.failed, tally.failed)
            print(f"{name:24} {' '.join(f'{one:6}' for one in figures)} {tally.seconds:7.0f}")
    for path in [path for tally in tallies.values() for path in tally.kept]:
        print(f"kept: {path}")


if __name__ == "__main__":
    sys.exit(main())
