"""Nearly valid input for every parser, a little of it; `make fuzz` has more."""

import pytest

from fuzz.__main__ import KEPT, KEPT_BYTES, PARSERS, kept
from fuzz.run import Result, fuzz

INPUTS = 200


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {result.parser: result for result in fuzz(PARSERS, seed=1, inputs=INPUTS, kept=kept)}


@pytest.mark.parametrize("parser", [make.__name__ for make in PARSERS])
def test_input_is_read_or_refused_in_bounded_time_and_memory(parser: str, results: dict[str, Result]) -> None:
    result = results[parser]
    assert [(finding.index, finding.what) for finding in result.findings] == []
    assert result.accepted + result.refused == INPUTS + len(kept(parser))


def test_kept_inputs_are_small_and_belong_to_a_parser() -> None:
    assert {path.name for path in KEPT.glob("*")} <= {make.__name__ for make in PARSERS}
    assert all(path.stat().st_size <= KEPT_BYTES for path in KEPT.glob("*/*"))
