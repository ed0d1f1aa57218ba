"""The benchmarks run, and a comparison finds what became slower; no time is asserted."""

import json
from pathlib import Path

import pytest

from benchmarks.compare import BASELINE, slower
from benchmarks.samples import sample_of
from benchmarks.stages import Figure, measure


def test_the_baseline_has_all_stages(tmp_path: Path) -> None:
    figures = measure(sample_of(tmp_path, 6, tiles=1), tmp_path)
    assert figures.keys() == json.loads(BASELINE.read_text()).keys()
    assert min(figure.floor for figure in figures.values()) > 0


@pytest.mark.parametrize(
    ("ours", "found"),
    [(15.0, []), (17.2, []), (17.3, ["decode: 1.73 times its floor, 1.50 in the baseline"])],
)
def test_a_stage_is_slower_if_its_ratio_grew_by_more_than_15_percent(ours: float, found: list[str]) -> None:
    assert slower({"decode": Figure(ours, 10.0)}, {"decode": 1.5}) == found
    assert len(slower({}, {"decode": 1.5})) == 1
