"""make: what dataset passes on, and what clean and purge remove."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from deployments.settings import ROOT

SAMPLE = ("sample-dataset", "sample-work")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (*SAMPLE, ".prefect", "mine"):
        (tmp_path / name).mkdir()
    for name in SAMPLE:
        (tmp_path / name / ".bigearthnet").touch()
    (tmp_path / ".prefect" / "prefect.db").touch()
    return tmp_path


def make(project: Path, *arguments: str, answer: str = "") -> int:
    command = ["make", "--silent", *arguments]
    return subprocess.run(command, cwd=project, input=answer, text=True, check=False).returncode


def folders(project: Path) -> set[str]:
    return {path.name for path in project.iterdir() if path.is_dir()}


def test_clean_removes_the_sample_alone(project: Path) -> None:
    assert make(project, "clean") == 0
    assert folders(project) == {".prefect", "mine"}
    (project / "sample-work").mkdir()  # without the marker: of a person
    assert make(project, "clean") == 0
    assert folders(project) == {".prefect", "mine", "sample-work"}


@pytest.mark.parametrize(
    ("arguments", "answer", "purges"),
    [((), "y\n", True), ((), "n\n", False), ((), "", False), (("YES=1",), "", True)],
    ids=str,
)
def test_purge_asks(project: Path, arguments: tuple[str, ...], answer: str, *, purges: bool) -> None:
    assert (make(project, "purge", *arguments, answer=answer) == 0) is purges
    assert (".prefect" in folders(project)) is not purges
    assert "mine" in folders(project)


def test_purge_refuses_while_a_server_has_the_database_open(project: Path) -> None:
    with (project / ".prefect" / "prefect.db").open("rb"):
        assert make(project, "purge", "YES=1") != 0
    assert ".prefect" in folders(project)


def test_a_destination_with_spaces_and_quotes_is_passed_on() -> None:
    options = ("DESTINATION=~/it's a place", "OPTIONS=--max-patches 3")
    command = ("make", "-n", "--no-print-directory", "dataset", *options)
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    last = shlex.split(shown.splitlines()[-1])
    assert last[1:] == ["prepare", "~/it's a place", "--max-patches", "3"]
