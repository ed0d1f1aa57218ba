"""The examples train: run by `make test-examples`, which makes the sample and installs what they need."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["torch_segmentation.py", "keras_segmentation.py"])
def test_the_loss_falls_and_the_model_beats_a_constant_guess(name: str) -> None:
    command = [ROOT / ".examples-venv/bin/python", ROOT / "examples" / name, ROOT / "sample-dataset"]
    done = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True, check=True
    )
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", done.stdout)]
    assert losses[-1] < 0.75 * losses[0]
    score, guess = map(float, re.findall(r"(?:mIoU|guess) ([0-9.]+)", done.stdout))
    assert score > 2 * guess
