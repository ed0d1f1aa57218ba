"""The README's Python, run on the embedded sample as `make run` prepares it."""

from pathlib import Path

import pytest

from flows.prepare import prepare
from tests.unit.test_docs import README, blocks

pytestmark = pytest.mark.e2e


def test_the_python_of_the_readme_runs(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(source="sample", destination="sample-dataset", work_dir="sample-work")
    codes = blocks(README, "python")
    assert len(codes) == 3
    for code in codes:
        exec(compile(code, str(README), "exec"), {"__name__": "readme"})  # noqa: S102
    shown = capsys.readouterr().out
    assert "(120, 120, 3) (120, 120)" in shown
    assert ".png " in shown
