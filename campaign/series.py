"""A series of trials in one process."""

import shutil
import signal
import sys
import time
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from campaign.registry import Kind, registered
from campaign.trial import Skipped, Trial
from campaign.world import World, open_world


@dataclass
class Tally:
    """Results of one kind."""

    trials: int = 0
    failed: int = 0
    seconds: float = 0
    skipped: str = ""
    kept: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Collection["Tally"]) -> "Tally":
        """Add up results."""
        return cls(
            sum(part.trials for part in parts),
            sum(part.failed for part in parts),
            sum(part.seconds for part in parts),
            "".join({part.skipped for part in parts}),
            [path for part in parts for path in part.kept],
        )


@dataclass(frozen=True, slots=True)
class Series:
    """Trials that one process makes one after the other.

    Attributes:
        kinds: names of the kinds of faults.
        seed: of its random choices. Short series with another seed begin with other kinds.
        until: no trial begins that may end later, in seconds of the machine's monotonic clock.
        trial: the number of the only trial to make.
        folder: for its files.
    """

    kinds: Sequence[str]
    seed: int
    until: float
    trial: int | None
    folder: Path

    def run(self) -> dict[str, Tally]:
        """Make the trials."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        order = [registered()[name] for name in self.kinds]
        Random(self.seed).shuffle(order)  # noqa: S311 - not for secrets
        tallies = {name: Tally() for name in self.kinds}
        try:
            with open_world(self.folder / "world") as world:
                if self.trial is not None:
                    _try(order[0], self.trial, world, tallies[order[0].name], self.seed)
                while self.trial is None:
                    left = self.until - time.monotonic()
                    ready = [one for one in order if one.seconds <= left and not tallies[one.name].skipped]
                    if not ready:
                        break
                    one = min(ready, key=lambda one: tallies[one.name].trials / one.weight)
                    _try(one, tallies[one.name].trials, world, tallies[one.name], self.seed)
        finally:
            shutil.rmtree(self.folder / "world", ignore_errors=True)
        return tallies


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
