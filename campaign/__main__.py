"""Try runs under faults, and print a table; the exit status is 1 if any trial failed."""

import argparse
import secrets
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp

from campaign.registry import registered
from campaign.series import Series, Tally

SHORT_MINUTES = 3


def main() -> int:
    """Run the campaign."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="time for all trials (%(default)s)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_MINUTES} minutes")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of a campaign to repeat")
    parser.add_argument("--kind", action="append", choices=registered(), help="only these; may be repeated")
    parser.add_argument("--trial", type=int, help="only the trial of this number, of one --kind")
    parser.add_argument("--jobs", type=int, default=3, help="trials at the same time (%(default)s)")
    asked = parser.parse_args()
    kinds = [name for name in registered() if not asked.kind or name in asked.kind]
    if asked.trial is not None and len(kinds) != 1:
        parser.error("--trial needs one --kind")
    jobs = asked.jobs if asked.trial is None else 1
    minutes = SHORT_MINUTES if asked.short else asked.minutes
    print(f"campaign of {minutes:g} minutes with --seed {asked.seed} --jobs {jobs}", flush=True)
    folder = Path(mkdtemp(prefix="campaign-"))
    common = [name for name in kinds if registered()[name].weight > 1]
    others = [name for name in kinds if name not in common]
    series = [
        Series(
            [*common, *others[job::jobs]] or kinds,
            *(asked.seed + job, began + 60 * minutes, asked.trial, folder / str(job)),
        )
        for job in range(jobs)
    ]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        results = list(pool.map(Series.run, series))
    tallies = {name: Tally.of([result[name] for result in results if name in result]) for name in kinds}
    _print_table(tallies)
    for path in [*folder.glob("*"), folder]:
        with suppress(OSError):  # a failed trial is kept there
            path.rmdir()
    return int(any(tally.failed for tally in tallies.values()))


def _print_table(tallies: Mapping[str, Tally]) -> None:
    total = Tally.of(tallies.values())
    print(f"\n{'kind':24} {'trials':>6} {'ok':>6} {'failed':>6} {'seconds':>7}")
    for name, tally in {**tallies, "all": replace(total, skipped="")}.items():
        figures = f"{tally.trials:6} {tally.trials - tally.failed:6} {tally.failed:6} {tally.seconds:7.0f}"
        print(f"{name:24} {f'skipped: {tally.skipped}' if tally.skipped else figures}")
    for path in total.kept:
        print(f"kept: {path}")


if __name__ == "__main__":
    sys.exit(main())
