"""Compare the stages of a run with the committed baseline, as ratios to their floors."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.samples import sample_of
from benchmarks.stages import Figure, measure

BASELINE = Path(__file__).with_name("baseline.json")
_LIMIT = 1.15
_PATCHES = 400


def stages() -> dict[str, Figure]:
    """Measure all stages on one core, and print them."""
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as text:
        sample = sample_of(Path(text), _PATCHES, tiles=1)
        os.sched_setaffinity(0, {min(cores)})
        figures = measure(sample, Path(text))
        os.sched_setaffinity(0, cores)
    print("\nMicroseconds of CPU a patch, and of the bare library calls of a stage")
    for name, figure in figures.items():
        print(f"  {name:40} {figure.ours:6.0f} {figure.floor:6.0f}  × {figure.ratio:.2f}")
    return figures


def slower(figures: Mapping[str, Figure], baseline: Mapping[str, float]) -> list[str]:
    """Describe each stage whose ratio is more than 15 % above the baseline's, or that is missing."""
    found = []
    for name, before in baseline.items():
        now = figures[name].ratio if name in figures else float("inf")
        if now > before * _LIMIT:
            found.append(f"{name}: {now:.2f} times its floor, {before:.2f} in the baseline")
    return found


def main() -> None:
    """Measure, then compare or, with `--renew`, write the baseline."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--renew", action="store_true", help="write the baseline anew")
    renew = parser.parse_args().renew
    figures = stages()
    if renew:
        ratios = {name: round(figure.ratio, 2) for name, figure in figures.items()}
        BASELINE.write_text(json.dumps(ratios, indent=1) + "\n")
    elif found := slower(figures, json.loads(BASELINE.read_text())):
        sys.exit("\n".join(["More than 15 % above the baseline:", *found]))


if __name__ == "__main__":
    main()
